"""Copy and interpolation between annotated slices, by hand and against the known figures of a real case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flarekit.evaluation.propagation import rival_fillers, score_filler
from flarekit.evaluation.rivals import copy_nearest, interpolate
from flarekit.volumes import read_labels


def disc(radius: float, centre: tuple[int, int] = (20, 25), organ: int = 1) -> np.ndarray:
    rows, columns = np.ogrid[:40, :50]
    inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    return (organ * inside).astype(np.uint8)


def square(side: int, organ: int = 1) -> np.ndarray:
    classes = np.zeros((9, 12), dtype=np.uint8)
    classes[4 - side // 2 : 5 + side // 2, 4 - side // 2 : 5 + side // 2] = organ
    return classes


def test_copy_takes_the_nearest_slice_and_the_lower_of_two() -> None:
    annotated = {1: np.full((2, 3), 1), 5: np.full((2, 3), 5)}
    assert [int(classes[0, 0]) for _, classes in copy_nearest(annotated, 8)] == [1, 1, 1, 1, 5, 5, 5, 5]


def test_a_growing_square_is_half_grown_half_way() -> None:
    # Sides 3 and 7: signed distances go over linearly, so the outline is half way, side 5.
    filled = dict(interpolate({0: square(3), 2: square(7)}, 3, (1.0, 1.0)))
    assert np.array_equal(filled[0], square(3)) and np.array_equal(filled[2], square(7))
    assert (filled[1] == 1).sum() in (21, 25)  # a square of side 5, its corners cut or not
    assert filled[1][2:7, 4].all() and not filled[1][[1, 7], 4].any()


def test_a_disc_that_moves_is_met_between() -> None:
    filled = dict(interpolate({0: disc(12, (20, 20)), 4: disc(12, (20, 26))}, 5, (1.0, 1.0)))
    rows, columns = np.nonzero(filled[2])
    assert rows.mean() == pytest.approx(20, abs=0.3)
    assert columns.mean() == pytest.approx(23, abs=0.3)


def test_an_organ_on_one_side_alone_is_copied_from_the_nearest() -> None:
    annotated = {0: disc(6), 4: np.zeros((40, 50), dtype=np.uint8)}
    sizes = [int((classes == 1).sum()) for _, classes in interpolate(annotated, 5, (1.0, 1.0))]
    whole = int(disc(6).sum())
    assert sizes == [whole, whole, whole, 0, 0]


def test_beyond_the_ends_slices_are_copied() -> None:
    filled = dict(interpolate({2: disc(5), 4: disc(9)}, 7, (1.0, 1.0)))
    assert np.array_equal(filled[0], disc(5)) and np.array_equal(filled[6], disc(9))


def test_two_organs_do_not_overlap_and_both_appear() -> None:
    annotated = {z: np.maximum(disc(6, (20, 15)), disc(6, (20, 35), organ=2)) for z in (0, 2)}
    filled = dict(interpolate(annotated, 3, (0.8, 1.5)))
    assert np.array_equal(filled[1], annotated[0])


def test_an_organ_that_fills_the_slice_is_interpolated_without_a_warning() -> None:
    full = np.ones((4, 5), dtype=np.uint8)
    with np.errstate(all="raise"):
        filled = dict(interpolate({0: full, 2: full}, 3, (1.0, 1.0)))
    assert np.array_equal(filled[1], full)


def test_rivals_need_an_annotated_slice() -> None:
    with pytest.raises(ValueError, match="no annotated"):
        next(copy_nearest({}, 3))
    with pytest.raises(ValueError, match="no annotated"):
        next(interpolate({}, 3, (1.0, 1.0)))


@pytest.mark.parametrize(("every", "copy", "interpolation"), [(5, 0.80, 0.80), (10, 0.67, 0.66), (20, 0.54, 0.53)])
def test_the_known_figures_of_a_real_case(shared_data: Path, every: int, copy: float, interpolation: float) -> None:
    file = shared_data / "totalsegmentator" / "example_ct_flarelabels_tsv1_fullres.nii.gz"
    masks = read_labels(file)
    fillers = rival_fillers(len(masks.array), masks.spacing_mm[1:])
    scores = {name: score_filler(f, masks.array, every=every, offsets=4).mean for name, f in fillers.items()}
    assert scores["copy"] == pytest.approx(copy, abs=0.005)
    assert scores["interpolation"] == pytest.approx(interpolation, abs=0.005)
