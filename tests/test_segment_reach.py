"""What is carried past an organ's ends is dropped: past slices on which the reference module sees little of it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import numpy as np
import pytest
from segmentation_doubles import Reader, loaded, painted_classes, painted_volume

from flarekit.config.reference import SamplingConfig, SecondPassConfig
from flarekit.config.segment import SegmentConfig
from flarekit.pipeline import segment
from flarekit.pipeline.reach import out_of_reach
from flarekit.pipeline.segmentation import Assembly, Segmentation
from flarekit.reference import ReferenceModule, SliceEvidence
from flarekit.reference.evidence import OrganTable

DEPTH = 12
SLICES = (1, 4, 7, 10)


def table(*areas_mm2: Sequence[float]) -> OrganTable:
    """Of organs with these areas on `SLICES`."""
    area = np.array(areas_mm2, dtype=np.float64).T
    return OrganTable(slices=SLICES, area_mm2=area, certainty=np.ones_like(area), peak=np.ones_like(area))


@pytest.mark.parametrize(("areas", "beyond"), [
    ((0, 80, 90, 0), [range(2), range(10, 12)]),
    ((0, 59, 60, 0), [range(5), range(10, 12)]),
    ((0, 0, 0, 70), [range(8)]),
    ((70, 0, 0, 0), [range(4, 12)]),
    ((70, 0, 0, 70), []),
    ((90, 90, 90, 90), []),
    ((0, 59, 0, 0), []),
])  # fmt: skip
def test_an_organ_ends_before_the_slices_beside_it_that_show_little_of_it(areas, beyond) -> None:
    found = list(out_of_reach(table(areas), DEPTH, 60.0))
    assert [(c, list(range(DEPTH)[part])) for c, part in found] == [(1, list(part)) for part in beyond]


def test_each_organ_has_its_own_ends() -> None:
    found = list(out_of_reach(table((70, 70, 0, 0), (0, 0, 0, 0), (0, 70, 70, 70)), DEPTH, 60.0))
    assert found == [(1, slice(7, DEPTH)), (3, slice(0, 2))]


def carry_to_the_ends(assembly: Assembly, volume, references: Sequence[SliceEvidence], *_: object) -> None:
    """A propagation that knows no end: every slice gets the block of the first reference."""
    block = references[0].classes * (references[0].classes == 1)
    for z in range(len(assembly.classes)):
        assembly.add_propagated(z, block, [1], np.full(1, 0.75, dtype=np.float32))


def test_segment_drops_what_is_carried_past_the_slices_it_looked_at(monkeypatch) -> None:
    monkeypatch.setattr(import_module("flarekit.pipeline.segment"), "carry", carry_to_the_ends)
    config = SegmentConfig(sampling=SamplingConfig(every_mm=8.0), second_pass=SecondPassConfig(max_slices=0))
    carried = loaded(Reader(), kind="propagation")
    result: Segmentation = segment(painted_volume(), ReferenceModule(loaded(Reader())), carried, config)
    inside = np.flatnonzero((result.classes == 1).any(axis=(1, 2)))
    assert result.sampled == (0, 2, 4, 6, 8, 10)
    np.testing.assert_array_equal(inside, range(1, 10))  # slice 0 shows no block, slice 10 neither
    np.testing.assert_array_equal(result.classes[5] == 1, painted_classes()[5] == 1)
    assert result.organs[0].volume_ml == pytest.approx(9 * 400 * 16e-3)
    assert np.isnan(result.certainty[0, 11]) and result.certainty[0, 9] == pytest.approx(0.75)


def test_an_organ_of_which_no_slice_shows_enough_is_carried_as_far_as_it_goes(monkeypatch) -> None:
    monkeypatch.setattr(import_module("flarekit.pipeline.segment"), "carry", carry_to_the_ends)
    looks = {"sampling": SamplingConfig(every_mm=8.0), "second_pass": SecondPassConfig(max_slices=0)}
    carried = loaded(Reader(), kind="propagation")
    for least, slices in ((1600.0, range(1, 10)), (1601.0, range(12))):  # the block has 1600 mm2
        config = SegmentConfig(**looks, reach_mm2=least)
        result = segment(painted_volume(), ReferenceModule(loaded(Reader())), carried, config)
        np.testing.assert_array_equal(np.flatnonzero((result.classes == 1).any(axis=(1, 2))), slices)


def test_a_reach_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="reach_mm2 is positive"):
        SegmentConfig(reach_mm2=0.0)
