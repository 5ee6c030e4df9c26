"""Changes of training slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_stores import ORGANS

from flarekit.config.preprocessing import WINDOWS
from flarekit.config.training import AUGMENTATIONS, AugmentationConfig
from flarekit.data.augmentation import (
    UNCHANGED,
    Change,
    change_classes,
    change_images,
    draw_change,
    shifted_windows,
)

PAPER = WINDOWS["paper"]
ROWS, COLUMNS, SIDE = 48, 80, 32


def changes(config: AugmentationConfig, count: int = 40) -> list[Change]:
    return [draw_change(config, np.random.default_rng(seed)) for seed in range(count)]


def dot(row: int, column: int) -> torch.Tensor:
    """Classes (1, 48, 80) with a 3 x 3 spot of class 1 around a pixel."""
    classes = torch.zeros(1, ROWS, COLUMNS, dtype=torch.uint8)
    classes[0, row - 1 : row + 2, column - 1 : column + 2] = 1
    return classes


def test_nothing_changes_without_augmentation() -> None:
    image = torch.rand(2, 3, SIDE, SIDE)
    for change in changes(AUGMENTATIONS["none"]):
        assert torch.equal(change_images(image, change, side=SIDE, windows=PAPER), image)


def test_a_crop_is_a_window_of_the_canvas_within_its_edges() -> None:
    numbered = torch.arange(ROWS * COLUMNS, dtype=torch.float32).reshape(1, 1, ROWS, COLUMNS)
    corners = set()
    for change in changes(AUGMENTATIONS["none"]):
        crop = change_images(numbered, change, side=SIDE, windows=PAPER)[0, 0]
        top, left = divmod(int(crop[0, 0]), COLUMNS)
        assert torch.equal(crop, numbered[0, 0, top : top + SIDE, left : left + SIDE])
        corners.add((top, left))
    assert len(corners) > 30


def test_a_canvas_smaller_than_the_side_is_padded_with_air() -> None:
    small = torch.ones(1, 1, 20, SIDE)
    padded = change_images(small, UNCHANGED, side=SIDE, windows=PAPER)
    assert padded.shape == (1, 1, SIDE, SIDE) and padded.sum() == small.sum()


@pytest.mark.parametrize("name", ["paper", "affine"])
def test_images_and_labels_move_together_and_stay_near_the_focus(name: str) -> None:
    classes, focus = dot(14, 60), (14.5, 60.5)
    image = classes[:, None].float().expand(1, 3, ROWS, COLUMNS)
    config = replace(AUGMENTATIONS[name], noise_hu=0.0, gamma=1.0)
    for change in changes(config):
        moved = change_classes(classes, change, side=SIDE, focus=focus)
        picture = change_images(image, change, side=SIDE, windows=PAPER, focus=focus)
        assert moved.shape == (1, SIDE, SIDE) and 4 <= int(moved.sum()) <= 16
        middle = [plane.nonzero().float().mean(0)[-2:] for plane in (moved[0], picture[0, 0] > 0.5)]
        assert (middle[0] - middle[1]).abs().max() <= 0.75


@pytest.mark.parametrize(
    ("rows", "columns", "swapped"), [(False, True, True), (True, False, True), (True, True, False)]
)
def test_one_reflection_swaps_paired_organs_and_two_do_not(rows: bool, columns: bool, swapped: bool) -> None:
    change = replace(UNCHANGED, flip_rows=rows, flip_columns=columns)
    classes = torch.tensor([0, 1, 2, 3, 255], dtype=torch.uint8).repeat_interleave(SIDE * SIDE)
    moved = change_classes(classes.reshape(5, SIDE, SIDE), change, side=SIDE, mirror_table=ORGANS.mirror_table())
    expected = [0, 2, 1, 3, 255] if swapped else [0, 1, 2, 3, 255]
    assert moved[:, 0, 0].tolist() == expected


def test_mirror_off_allows_no_reflection() -> None:
    drawn = changes(AugmentationConfig(flips=True, mirror="off"))
    assert not any(change.mirrored for change in drawn)
    assert any(change.flip_rows and change.flip_columns for change in drawn)


def test_a_quarter_turn_is_counter_clockwise() -> None:
    image = torch.zeros(1, 1, SIDE, SIDE)
    image[..., 0, :] = 1.0  # front
    turned = change_images(image, replace(UNCHANGED, quarter_turns=1), side=SIDE, windows=PAPER)
    assert turned[..., :, 0].all() and turned.sum() == SIDE


def test_zoom_two_shows_the_middle_half() -> None:
    image = torch.zeros(1, 1, SIDE, SIDE)
    image[..., SIDE // 4 : 3 * SIDE // 4, SIDE // 4 : 3 * SIDE // 4] = 1.0
    zoomed = change_images(image, replace(UNCHANGED, zoom=2.0), side=SIDE, windows=PAPER)
    assert zoomed[..., 1:-1, 1:-1].min() == 1.0


def test_rotation_is_rigid_where_the_canvas_is_not_square() -> None:
    classes = torch.zeros(1, ROWS, COLUMNS, dtype=torch.uint8)
    classes[0, ROWS // 2 - 10 : ROWS // 2 + 10, COLUMNS // 2 - 2 : COLUMNS // 2 + 2] = 1
    turned = change_classes(classes, replace(UNCHANGED, rotation_deg=90.0), side=SIDE)
    rows, columns = turned[0].nonzero().unbind(1)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (4, 20)


def test_noise_is_in_hu_and_so_weaker_in_wider_windows() -> None:
    image = torch.full((1, 3, 64, 64), 0.5)
    noisy = change_images(image, replace(UNCHANGED, noise_hu=20.0, noise_seed=3), side=64, windows=PAPER)
    expected = [20.0 / (high - low) for low, high in PAPER.ranges_hu]
    assert noisy.std(dim=(0, 2, 3)).tolist() == pytest.approx(expected, rel=0.05)


def test_windows_shift_and_stretch_by_their_width() -> None:
    change = replace(UNCHANGED, window_shift=0.1, window_stretch=1.2)
    low, high = shifted_windows(PAPER, change).ranges_hu[0]
    assert (low, high) == pytest.approx((50 + 40 - 240, 50 + 40 + 240))
    assert shifted_windows(PAPER, UNCHANGED) is PAPER


def test_drawing_twice_from_one_seed_gives_one_change() -> None:
    assert changes(AUGMENTATIONS["affine"]) == changes(AUGMENTATIONS["affine"])
    assert len(set(changes(AUGMENTATIONS["affine"]))) == 40


def test_half_of_the_samples_lose_resolution_and_none_more_than_asked_for() -> None:
    factors = np.array([change.coarseness for change in changes(AugmentationConfig(coarsen=2.0), 400)])
    assert 0.4 < (factors == 1).mean() < 0.6
    assert factors.min() >= 1 and 1.9 < factors.max() <= 2.0
    with pytest.raises(ValueError, match="coarsen is at least 1, got 0.5"):
        AugmentationConfig(coarsen=0.5)


def test_larger_pixels_hide_what_is_smaller_than_they_are_and_keep_the_mean() -> None:
    stripes = torch.zeros(1, 1, ROWS, COLUMNS)
    stripes[..., ::2] = 1
    coarse = change_images(stripes[..., :ROWS], replace(UNCHANGED, coarseness=3.0), side=ROWS, windows=PAPER)
    assert coarse.shape == (1, 1, ROWS, ROWS)
    assert coarse[..., 4:-4].std() < 0.1 and abs(coarse.mean() - 0.5) < 0.02


def test_coarsening_is_drawn_last_so_that_other_changes_stay_what_they_were() -> None:
    affine = AUGMENTATIONS["affine"]
    for plain, coarse in zip(changes(affine), changes(replace(affine, coarsen=2.0)), strict=True):
        assert replace(coarse, coarseness=1.0) == plain
