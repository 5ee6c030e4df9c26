"""Who takes which pixel: part by part as on the whole slice at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.config.propagation import IntensityConfig, OutlineConfig, PropagationConfig
from flarekit.data.grid import NetworkGrid
from flarekit.propagation.boxes import TOKEN_PX, Box
from flarekit.propagation.decision import Evidence, decide
from flarekit.propagation.drawn import Drawn
from flarekit.propagation.found import Found
from flarekit.propagation.native import NativeGrid

NATIVE, BOX, OBJECTS = (70, 90), Box(1, 4, 0, 5), (0, 2, 3)
FINE, COARSE = (1.0, 0.9), (3.1, 2.7)  # mm, on a network's grid of 1.6
NOTHING = Drawn(None, None)


def grid(spacing_mm: tuple[float, float], canvas: int = 96) -> NetworkGrid:
    return NetworkGrid.of(NATIVE, spacing_mm, PreprocessingConfig(spacing_mm=1.6, canvas=canvas))


def blob(row: float, column: float, radius: float) -> Tensor:
    """Logits that fall off around a pixel of the box, towards certain absence."""
    rows, columns = torch.arange(48.0)[:, None], torch.arange(80.0)
    return (radius - ((rows - row) ** 2 + (columns - column) ** 2).sqrt()).clamp(-12, 6)


@pytest.fixture
def found() -> Found:
    """Three objects of five, two of them beside each other, the last too faint to win."""
    odds = torch.stack((torch.zeros(48, 80), blob(20, 30, 9), blob(25, 45, 8), blob(40, 10, -2)))
    return Found(OBJECTS, BOX, odds.softmax(dim=0))


def drawn_on(classes: np.ndarray, outlines: OutlineConfig, intensities: bool = False, objects: int = 5) -> Drawn:
    """What slice 4 says when these classes are drawn on it, on a CT where they are 70 HU apart amid noise."""
    hu = (np.random.default_rng(1).normal(-100, 60, (8, *NATIVE)) + 70.0 * classes).astype(np.int16)
    config = PropagationConfig(outlines=outlines, intensities=IntensityConfig(use=intensities))
    return Drawn.on({4: classes}, {4: np.ones(objects, dtype=bool)}, hu, (2.5, 1.0, 0.9), config)


def on_the_whole_slice(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """Classes, and each object's probability (5, H, W), from all probabilities at once."""
    planes = evidence.probabilities().whole([1, 2, 3, 4, 5], (6, *evidence.grid.shape))
    return planes.argmax(dim=0).numpy(), planes[1:].numpy()


def expected_confidence(classes: np.ndarray, planes: np.ndarray) -> Sequence[float]:
    taken = [classes == k + 1 for k in range(5)]
    return [own[here].mean() if here.any() else 1 - own.max() for own, here in zip(planes, taken, strict=True)]


@pytest.mark.parametrize("spacing_mm", [FINE, COARSE])
@pytest.mark.parametrize("outlined", [False, True])
@pytest.mark.parametrize("intensities", [False, True])
@pytest.mark.parametrize("barred", [(), (0,), OBJECTS])
def test_part_by_part_the_same_objects_win_as_on_the_whole_slice(
    found: Found, spacing_mm: tuple[float, float], outlined: bool, intensities: bool, barred: Sequence[int]
) -> None:
    drawn = np.zeros(NATIVE, dtype=np.uint8)
    drawn[30:45, 20:40], drawn[30:45, 40:60] = 1, 3
    whole = NativeGrid.of(grid(spacing_mm), torch.device("cpu"))
    said = drawn_on(drawn, OutlineConfig(use=outlined), intensities)
    evidence = Evidence(found, whole, barred, said, 6)
    decision = decide(evidence, 5)
    classes, planes = on_the_whole_slice(evidence)
    np.testing.assert_array_equal(decision.classes, classes)
    assert set(np.unique(classes)) == {0, 1, 3} - {k + 1 for k in barred}
    np.testing.assert_allclose(decision.confidence, expected_confidence(classes, planes), atol=0.02)


def test_outlines_make_an_object_where_the_network_sees_next_to_none(found: Found) -> None:
    drawn = np.zeros(NATIVE, dtype=np.uint8)
    drawn[20:60, 5:85] = 4
    sure = drawn_on(drawn, OutlineConfig(limit=20.0))
    evidence = Evidence(found, NativeGrid.of(grid(FINE), torch.device("cpu")), (), sure, 4)
    decision = decide(evidence, 5)
    np.testing.assert_array_equal(decision.classes, on_the_whole_slice(evidence)[0])
    assert (decision.classes == 4).sum() > 1000


def test_a_faint_object_wins_where_outlines_speak_against_all_others() -> None:
    drawn = np.zeros(NATIVE, dtype=np.uint8)
    drawn[30:40, 40:50] = 13
    drawn[0, 0:12] = range(1, 13)
    blurred = drawn_on(drawn, OutlineConfig(blur_mm=4.0), objects=13)
    shares = torch.tensor((0.001, *([0.9795 / 12] * 12), 0.0195))
    found = Found(tuple(range(13)), BOX, shares[:, None, None].expand(-1, 48, 80))
    evidence = Evidence(found, NativeGrid.of(grid(FINE), torch.device("cpu")), (), blurred, 4)
    whole = evidence.probabilities().whole(range(1, 14), (14, *NATIVE)).argmax(dim=0).numpy()
    assert (whole == 13).sum() > 2 * (drawn == 13).sum()
    np.testing.assert_array_equal(decide(evidence, 13).classes, whole)


def test_a_faint_object_wins_in_the_room_of_a_barred_one() -> None:
    shares = torch.tensor((0.001, 0.985, 0.014))
    found = Found((0, 1), BOX, shares[:, None, None].expand(-1, 48, 80))
    evidence = Evidence(found, NativeGrid.of(grid(FINE), torch.device("cpu")), (0,), NOTHING, 4)
    decision = decide(evidence, 2)
    whole = evidence.probabilities().whole((1, 2), (3, *NATIVE)).argmax(dim=0).numpy()
    assert (whole == 2).any()
    np.testing.assert_array_equal(decision.classes, whole)


def test_confidence_is_the_mean_over_many_pixels() -> None:
    sides = (512, 512)
    native = NativeGrid.of(NetworkGrid.of(sides, (1.0, 1.0), PreprocessingConfig(spacing_mm=4.0)), torch.device("cpu"))
    box = Box(0, native.columns.weights.shape[1] // TOKEN_PX, 0, native.columns.weights.shape[1] // TOKEN_PX)
    pixels = [TOKEN_PX * side for side in box.size]
    found = Found((0,), box, torch.tensor((0.0015, 0.9985))[:, None, None].expand(-1, *pixels))
    decision = decide(Evidence(found, native, (), NOTHING, 4), 1)
    assert (decision.classes == 1).sum() == 512 * 512
    assert float(decision.confidence[0]) == pytest.approx(0.9985, abs=1e-5)


def test_a_region_spreads_as_its_part_of_the_whole_slice(found: Found) -> None:
    for spacing_mm in (FINE, COARSE):
        native = NativeGrid.of(grid(spacing_mm), torch.device("cpu"))
        rows, columns = grid(spacing_mm).canvas
        everything = found.on(OBJECTS, Box(0, rows // TOKEN_PX, 0, columns // TOKEN_PX)).planes
        whole = grid(spacing_mm).from_network(everything[None])[0]
        region = (slice(22, 41), slice(17, 60))
        part = native.spread(found.planes, BOX, region)[1:]
        torch.testing.assert_close(part, whole[(slice(1, None), *region)], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("outlined", [False, True])
@pytest.mark.parametrize("box", [Box(0, 1, 0, 1), Box(1, 5, 1, 5), Box(1, 5, 7, 9), Box(7, 9, 11, 16)])
def test_what_is_found_beside_the_slice_alone_takes_nothing(box: Box, outlined: bool) -> None:
    native = NativeGrid.of(grid(FINE, canvas=256), torch.device("cpu"))
    region = native.reached(box)
    assert any(part.stop == part.start for part in region)
    sides = [TOKEN_PX * side for side in box.size]
    found = Found((1,), box, torch.tensor((0.1, 0.9))[:, None, None].expand(-1, *sides))
    drawn = np.zeros(NATIVE, dtype=np.uint8)
    drawn[30:40, 40:50] = 2
    evidence = Evidence(found, native, (), drawn_on(drawn, OutlineConfig(use=outlined)), 4)
    decision = decide(evidence, 5)
    assert not decision.classes.any()
    assert evidence.probabilities().whole((1, 2), (3, *NATIVE))[0].eq(1).all()


def test_nothing_found_takes_nothing_for_certain() -> None:
    nothing = Found((), BOX, torch.ones(1, 48, 80))
    evidence = Evidence(nothing, NativeGrid.of(grid(FINE), torch.device("cpu")), (), NOTHING, 4)
    decision = decide(evidence, 5)
    assert not decision.classes.any() and decision.confidence.tolist() == [1.0] * 5
    assert evidence.probabilities().planes.shape[0] == 1
