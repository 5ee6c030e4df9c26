"""The CPS pair's probabilities, and what is kept of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from segmentation_doubles import PREPROCESSING, SHAPE, Reader, loaded, painted_classes, painted_volume
from torch import nn

from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.data.grid import NetworkGrid
from flarekit.data.native import native_classes
from flarekit.data.slices import VolumeSlices
from flarekit.errors import CheckpointError, OutOfMemory
from flarekit.reference import ReferenceModule, SliceEvidence
from flarekit.reference.evidence import OrganTable


class Constant(nn.Module):
    """The same logits everywhere."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, image, position):
        return self.logits[None, :, None, None].expand(len(image), -1, *image.shape[2:])


@pytest.fixture
def slices() -> VolumeSlices:
    return VolumeSlices(painted_volume(), PREPROCESSING)


def test_the_softmaxes_of_the_pair_are_averaged_not_their_logits(slices):
    pair = ReferenceModule(loaded(Constant(0.0, 0.0, 0.0), Constant(float(np.log(8)), 0.0, 0.0)))
    ((z, probabilities),) = pair.probabilities(slices, [3])
    assert z == 3 and probabilities.shape == (3, 64, 64) and probabilities.dtype == torch.float32
    expected = torch.tensor([(1 / 3 + 8 / 10) / 2, (1 / 3 + 1 / 10) / 2, (1 / 3 + 1 / 10) / 2])
    torch.testing.assert_close(probabilities[:, 5, 7], expected)


def test_networks_that_answer_nan_make_no_mask(slices):
    broken = ReferenceModule(loaded(Constant(0.0, 0.0, 0.0), Constant(float("nan"), 0.0, 0.0)))
    with pytest.raises(CheckpointError, match="not finite"):
        list(broken.probabilities(slices, [3]))


def test_batches_do_not_change_the_answer_nor_the_order(slices):
    answers = [
        list(ReferenceModule(loaded(Reader()), batch_slices=size).probabilities(slices, [9, 0, 7, 2, 4]))
        for size in (1, 2, 8)
    ]
    for answer in answers:
        assert [z for z, _ in answer] == [9, 0, 7, 2, 4]
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(answer, answers[0], strict=True))


def test_each_slice_comes_with_its_position(slices):
    reader = Reader()
    list(ReferenceModule(loaded(reader)).probabilities(slices, [0, 11]))
    assert reader.seen == [0.0, 1.0]


def test_a_propagation_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match="double@1 is no reference checkpoint"):
        ReferenceModule(loaded(Reader(), kind="propagation"))


def test_evidence_counts_native_pixels_and_certainty_by_hand(slices):
    ((_, probabilities),) = ReferenceModule(loaded(Reader())).probabilities(slices, [7])
    evidence = SliceEvidence.of(7, probabilities, slices.grid)
    assert np.array_equal(evidence.classes, painted_classes()[7])
    assert evidence.area_px.tolist() == [SHAPE[1] * SHAPE[2] - 500, 400, 100]
    np.testing.assert_allclose(evidence.certainty_px[1:], [400, 100], rtol=1e-3)
    np.testing.assert_allclose(evidence.peak, 1.0, atol=1e-3)
    table = OrganTable.of([evidence], pixel_mm2=4.0)
    assert table.slices == (7,) and table.area_mm2.tolist() == [[1600.0, 400.0]]


def test_the_table_is_in_order_of_slices_and_absent_organs_have_no_certainty(slices):
    module = ReferenceModule(loaded(Reader()))
    evidence = [SliceEvidence.of(z, p, slices.grid) for z, p in module.probabilities(slices, [7, 0])]
    table = OrganTable.of(evidence, pixel_mm2=1.0)
    assert table.slices == (0, 7)
    assert table.area_mm2.tolist() == [[0, 0], [400, 100]]
    assert table.certainty[0].tolist() == [0, 0]


def test_classes_left_out_of_the_interpolation_change_nothing():
    grid = NetworkGrid.of((90, 70), (1.0, 1.1), PreprocessingConfig(spacing_mm=1.7, canvas=64))
    coarse = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0)) * 6
    coarse[4] -= 40
    probabilities = nn.functional.interpolate(coarse[None], grid.canvas, mode="bilinear")[0].softmax(0)
    winning, index = grid.from_network(probabilities[None])[0].max(0)
    classes, winning_too = native_classes(probabilities, grid)
    assert (probabilities.flatten(1).amax(1) < 1 / 6).any()
    assert torch.equal(classes.long(), index) and torch.equal(winning, winning_too)


class Greedy(Reader):
    """Has room for a few slices at a time."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.tried = room, []

    def forward(self, image, position):
        self.tried.append(len(image))
        if len(image) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(image, position)


def test_too_little_memory_makes_batches_smaller_and_changes_no_answer(slices, caplog):
    plain = list(ReferenceModule(loaded(Reader())).probabilities(slices, range(7)))
    network = Greedy(room=2)
    module = ReferenceModule(loaded(network), batch_slices=8)
    answer = list(module.probabilities(slices, range(7)))
    assert network.tried == [7, 3, 1, 1, 1, 1, 1, 1, 1] and module.batch_slices == 1
    assert [z for z, _ in answer] == list(range(7))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(answer, plain, strict=True))
    assert "too little memory for 7 slices at a time: on with 3" in caplog.text


def test_memory_for_not_even_one_slice_says_what_to_do(slices):
    with pytest.raises(OutOfMemory, match="--device cpu"):
        list(ReferenceModule(loaded(Greedy(room=0))).probabilities(slices, [3]))


class Sided(nn.Module):
    """Knows where it looks, not what at: class 1 left of the image's middle, class 2 right of it, unsure of both."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, image, position):
        logits = torch.zeros(len(image), 3, *image.shape[2:])
        middle = image.shape[3] // 2
        logits[:, 1, :, :middle] = self.gain * image[:, 0, :, :middle]
        logits[:, 2, :, middle:] = self.gain * 3 * image[:, 0, :, middle:]
        return logits


def test_flips_average_both_views_and_paired_organs_change_places():
    double = loaded(Sided())
    paired = replace(double.card, labels=replace(double.card.labels, pairs=(("block", "pea"),)))
    module = ReferenceModule(replace(double, card=paired))
    image, position = torch.zeros(1, 3, 32, 64), torch.zeros(1)
    image[0, 0, :, :32] = 1.0  # bright on the left alone
    plain, flipped = module.predict(image, position), module.flipping().predict(image, position)
    e = float(np.e)
    left, mirrored = 1 / (2 + e), 1 / (2 + e**3)  # what the other classes get in each view of the bright half
    torch.testing.assert_close(plain[0, :, 5, 5], torch.tensor([left, e * left, left]))
    expected = [(left + mirrored) / 2, (e * left + e**3 * mirrored) / 2, (left + mirrored) / 2]
    torch.testing.assert_close(flipped[0, :, 5, 5], torch.tensor(expected))
    torch.testing.assert_close(module.predict(image, position), plain)


def test_a_network_that_does_not_know_left_from_right_gains_nothing_from_flips(slices):
    module = ReferenceModule(loaded(Constant(0.0, 1.0, 1.0)))
    ((_, plain),) = module.probabilities(slices, [3])
    ((_, flipped),) = module.flipping().probabilities(slices, [3])
    torch.testing.assert_close(plain, flipped)
