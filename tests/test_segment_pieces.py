"""Small pieces of an organ that has one piece are dropped, and what is counted of them, too."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from segmentation_doubles import ORGANS, Reader, loaded, painted_classes, painted_volume

from flarekit.checkpoints import Loaded
from flarekit.config.reference import SamplingConfig
from flarekit.config.segment import SegmentConfig
from flarekit.labels import FLARE22, LabelSet
from flarekit.pipeline import segment
from flarekit.pipeline.pieces import small_pieces
from flarekit.pipeline.segmentation import Assembly, Segmentation
from flarekit.reference import ReferenceModule
from flarekit.volumes import Volume

NAMES = ("liver", "lesion")


def pieces() -> np.ndarray:
    """A liver of 64 voxels with pieces of 27, 8 and 1 voxel away from it, and two lesions."""
    classes = np.zeros((12, 20, 20), dtype=np.uint8)
    classes[0:4, 0:4, 0:4] = 1
    classes[0:3, 10:13, 0:3] = 1
    classes[8:10, 10:12, 0:2] = 1
    classes[4, 4, 4] = 1  # touches the liver by a corner
    classes[11, 19, 0] = 1
    classes[5:8, 15:18, 15:18] = 2
    classes[11, 19, 19] = 2
    return classes


def without_small(least: float) -> np.ndarray:
    classes = pieces()
    for _, box, mask in small_pieces(classes, NAMES, least):
        classes[box][mask] = 0
    return classes


def test_a_piece_is_dropped_that_is_small_beside_the_largest() -> None:
    kept = without_small(0.3)
    assert (kept == 1).sum() == 64 + 1 + 27
    assert (without_small(0.5) == 1).sum() == 64 + 1
    assert (without_small(0.1) == 1).sum() == 64 + 1 + 27 + 8


def test_what_touches_by_a_corner_is_one_piece_and_lesions_may_have_many() -> None:
    kept = without_small(1.0)
    assert kept[4, 4, 4] == 1
    np.testing.assert_array_equal(kept == 2, pieces() == 2)


def test_nothing_is_dropped_of_what_is_asked_for_whole_or_has_one_piece() -> None:
    np.testing.assert_array_equal(without_small(0.0), pieces())
    assert list(small_pieces(np.where(pieces() == 2, 0, pieces())[:4, :5, :5], NAMES, 1.0)) == []
    assert list(small_pieces(np.zeros((2, 2, 2), dtype=np.uint8), NAMES, 1.0)) == []


def test_two_pieces_as_large_as_each_other_both_stay() -> None:
    classes = np.zeros((3, 8, 8), dtype=np.uint8)
    classes[:, :2, :2] = classes[:, 5:7, 5:7] = 1
    assert list(small_pieces(classes, NAMES, 1.0)) == []


def test_what_is_left_counts_and_is_as_certain_on_its_slices() -> None:
    classes = np.zeros((2, 4, 6), dtype=np.uint8)
    classes[0, :, :2], classes[0, 0, 5], classes[1, 0, 5] = 1, 1, 1
    assembly = Assembly(classes.shape, LabelSet(name="one", names=("liver",), ids=(1,)))
    assembly.add(0, classes[0].copy(), np.array([15, 9]), np.array([15.0, 7.2]))
    assembly.add(1, classes[1].copy(), np.array([23, 1]), np.array([23.0, 0.3]))
    ((organ, box, mask),) = small_pieces(assembly.classes, ("liver",), 0.3)
    assembly.drop(organ, box, mask)
    (liver,) = assembly.organs(voxel_ml=0.5)
    assert liver.volume_ml == 4.0 and liver.certainty == pytest.approx(0.8)
    np.testing.assert_allclose(assembly.certainty(), [[0.8, np.nan]])
    assert assembly.classes.sum() == 8


def crumbs() -> Volume:
    """The painted case, with four pixels as bright as the block on its first slice."""
    volume = painted_volume()
    hu = volume.array.copy()
    hu[0, 30:32, 40:42] = hu[5, 15, 15]
    return volume.like(hu)


def named(names: tuple[str, str]) -> Loaded:
    checkpoint = loaded(Reader())
    return replace(checkpoint, card=replace(checkpoint.card, labels=replace(ORGANS, names=names)))


@pytest.mark.parametrize(("names", "least", "dropped"), [
    (("liver", "spleen"), 0.3, True), (("liver", "spleen"), 0.0, False), (("block", "pea"), 0.3, False),
])  # fmt: skip
def test_segment_drops_them_of_organs_by_name(names: tuple[str, str], least: float, dropped: bool) -> None:
    result: Segmentation = segment(crumbs(), ReferenceModule(named(names)), None, SegmentConfig(least_piece=least))
    expected = painted_classes()
    expected[0, 30:32, 40:42] = 0 if dropped else 1
    np.testing.assert_array_equal(result.classes, expected)
    assert np.isnan(result.certainty[0, 0]) == dropped


def test_segment_drops_them_of_what_was_carried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    carried = painted_classes()
    carried[5, 30:32, 40:42] = 1

    def carry(assembly: Assembly, *_: object) -> None:
        for z, classes in enumerate(carried):
            assembly.add_propagated(z, classes, [1, 2], np.full(2, 0.75, dtype=np.float32))

    monkeypatch.setattr(import_module("flarekit.pipeline.segment"), "carry", carry)
    reference, propagation = ReferenceModule(named(("liver", "spleen"))), loaded(Reader(), kind="propagation")
    result = segment(painted_volume(), reference, propagation, SegmentConfig(sampling=SamplingConfig(every=1)))
    np.testing.assert_array_equal(result.classes, painted_classes())


def test_every_organ_of_flare22_is_one_piece() -> None:
    classes = np.zeros((3, 14, 9), dtype=np.uint8)
    for c in range(1, 14):
        classes[:, c, :3], classes[0, c, 5] = c, c
    assert [c for c, _, _ in small_pieces(classes, FLARE22.names, 0.3)] == list(range(1, 14))


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match="least_piece"):
        SegmentConfig(least_piece=1.5)
