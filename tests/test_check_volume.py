"""What speaks against a CT that has been read."""

from __future__ import annotations

import numpy as np
import pytest

from flarekit.check import ERROR
from flarekit.check.volume import volume_findings
from flarekit.volumes import Volume


def ct(hu: np.ndarray | None = None, spacing_mm: float = 2.0) -> Volume:
    """A body of soft tissue in air, some fat and some bone in it."""
    if hu is None:
        rng = np.random.default_rng(0)
        hu = np.full((40, 60, 20), -1000)
        hu[5:35, 10:50] = rng.integers(-120, 120, (30, 40, 20))
        hu[18:22, 40:45] = 1100
    scale = spacing_mm * np.array([1.0, 1.0, 1.5])
    return Volume.from_source(hu.astype(np.int16), np.diag([*-scale[:2], scale[2], 1.0]))


def codes(volume: Volume) -> dict[str, str]:
    return {finding.code: finding.severity for finding in volume_findings(volume)}


def test_nothing_speaks_against_a_plain_ct():
    assert codes(ct()) == {}


@pytest.mark.parametrize("spacing_mm", [0.2, 0.002, 2000.0])
def test_a_spacing_in_other_units_than_millimetres_is_an_error(spacing_mm):
    assert codes(ct(spacing_mm=spacing_mm))["field-of-view"] == ERROR


@pytest.mark.parametrize("spacing_mm", [1.4, 30.0])
def test_crops_and_wide_fields_are_let_through(spacing_mm):
    assert "field-of-view" not in codes(ct(spacing_mm=spacing_mm))


def test_values_without_fat_and_air_are_an_error_here():
    assert codes(ct(np.abs(ct().array.transpose(2, 1, 0) * 3) + 1))["all-positive"] == ERROR


def test_an_odd_grid_is_a_warning():
    assert codes(ct(spacing_mm=8.0))["thick"] != ERROR
