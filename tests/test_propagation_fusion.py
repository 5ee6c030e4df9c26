"""Fusion and confidence against numbers worked by hand, and the memory's ring."""

from __future__ import annotations

import math

import pytest
import torch

from flarekit.propagation.fusion import confidence, fuse, winners
from flarekit.propagation.memory import Frame, MemoryBank


def pixel(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities)[:, None, None]


def test_equally_near_and_sure_directions_give_the_normalised_geometric_mean() -> None:
    fused = fuse(pixel(0.8, 0.2), pixel(0.2, 0.8), (5.0, 5.0), 20.0)
    torch.testing.assert_close(fused, pixel(0.5, 0.5))


def test_the_surer_direction_weighs_more_by_its_confidence() -> None:
    # Weights 0.9 : 0.6 = 3 : 2.
    a, b = 0.9**0.6 * 0.4**0.4, 0.1**0.6 * 0.6**0.4
    fused = fuse(pixel(0.9, 0.1), pixel(0.4, 0.6), (5.0, 5.0), 20.0)
    torch.testing.assert_close(fused, pixel(a / (a + b), b / (a + b)))


def test_agreeing_directions_stay_as_they_are() -> None:
    torch.testing.assert_close(fuse(pixel(0.7, 0.3), pixel(0.7, 0.3), (2.0, 9.0), 20.0), pixel(0.7, 0.3))


def test_the_nearer_direction_has_the_weight_exp_of_the_difference() -> None:
    # Weights exp(0) : exp(-ln 3) = 3 : 1.
    fused = fuse(pixel(0.8, 0.2), pixel(0.2, 0.8), (1.0, 1.0 + 10.0 * math.log(3)), 10.0)
    assert (fused[0] / fused[1]).item() == pytest.approx(4 ** (0.75 - 0.25), rel=1e-5)
    remote = fuse(pixel(0.8, 0.2), pixel(0.2, 0.8), (0.0, 1e9), 10.0)
    torch.testing.assert_close(remote, pixel(0.8, 0.2))


def test_confidence_is_the_mean_probability_of_the_pixels_an_object_takes() -> None:
    probabilities = torch.tensor([[[0.1, 0.4, 0.9]], [[0.9, 0.6, 0.0]], [[0.0, 0.0, 0.1]]])
    torch.testing.assert_close(confidence(probabilities), torch.tensor([0.75, 0.9]))


def test_the_first_of_equal_planes_wins() -> None:
    planes = torch.randint(0, 3, (5, 7, 9), generator=torch.Generator().manual_seed(0)).float()
    largest = planes == planes.amax(dim=0)
    assert torch.equal(winners(planes), largest.int().argmax(dim=0))
    assert winners(planes[:1]).shape == (7, 9) and not winners(planes[:1]).any()


def frame(z: int, value: float, usable: bool = True) -> Frame:
    return Frame(
        z=z,
        key=torch.zeros(1, 2),
        value=torch.full((1, 1, 1), value),
        shows=torch.ones(1, 1, dtype=torch.bool),
        usable=torch.tensor([usable]),
    )


def read(bank: MemoryBank, z: int = 0, bias: float = 0.0) -> float:
    return bank.read(torch.zeros(1, 2), z, top_k=None, bias_per_slice=bias).value.item()


def test_the_ring_forgets_the_oldest_and_never_an_annotated_slice() -> None:
    bank = MemoryBank(frame(0, 0.0), permanent=1, passing=2)
    bank.keep(frame(0, 0.0))
    assert read(bank) == 0
    bank.pass_by(frame(1, 3.0))
    assert read(bank) == pytest.approx(3 / 2)
    bank.pass_by(frame(2, 6.0))
    assert read(bank) == pytest.approx(9 / 3)
    bank.pass_by(frame(3, 9.0))
    assert read(bank) == pytest.approx(15 / 3)
    bank.forget_passing()
    assert read(bank) == 0


def test_remote_frames_weigh_less_by_the_bias() -> None:
    bank = MemoryBank(frame(0, 0.0), permanent=2, passing=0)
    bank.keep(frame(0, 0.0))
    bank.keep(frame(4, 1.0))
    assert read(bank, z=1, bias=0.5) == pytest.approx(1 / (1 + math.exp(0.5 * 2)))


def test_a_frame_an_object_may_not_use_is_not_read() -> None:
    bank = MemoryBank(frame(0, 0.0), permanent=2, passing=0)
    bank.keep(frame(0, 2.0))
    bank.keep(frame(4, 1.0, usable=False))
    assert read(bank) == 2


def test_more_annotated_slices_than_announced_are_refused() -> None:
    bank = MemoryBank(frame(0, 0.0), permanent=1, passing=1)
    bank.keep(frame(0, 0.0))
    with pytest.raises(ValueError, match="1 annotated"):
        bank.keep(frame(1, 0.0))
