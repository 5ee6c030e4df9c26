"""Painted CT: the same for the same seed, organs where their labels are, HU in published ranges."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from flarekit.config.phantom import RECIPES, WarpRecipe
from flarekit.errors import InputError
from flarekit.labels import FLARE22, LabelSet
from flarekit.phantom import Tissue, canonical_volume, paint, paint_case, paint_tissues, synthetic_anatomy
from flarekit.phantom.grid import Grid, upsample
from flarekit.phantom.tissues import MEAN_HU, draw_palette, organ_tissues
from flarekit.phantom.tubes import Curve, stamp
from flarekit.phantom.warp import draw_warp, warp_labels

SPACING_MM = (5.0, 3.2, 3.4)
SHAPE = (52, 116, 120)
PLAIN, RANDOMISED = RECIPES["plain"], RECIPES["randomised"]


@cache
def anatomy(seed: int = 0) -> np.ndarray:
    return synthetic_anatomy(seed, SPACING_MM, SHAPE)


@cache
def plain_painting() -> tuple[np.ndarray, np.ndarray]:
    return paint(anatomy(), SPACING_MM, PLAIN, 0), paint_tissues(anatomy(), SPACING_MM, PLAIN, 0)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def test_the_same_seed_paints_the_same_bytes_whatever_the_threads() -> None:
    first, _ = paint_case(canonical_volume(anatomy(), SPACING_MM), RANDOMISED, 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        again, _ = paint_case(canonical_volume(anatomy(), SPACING_MM), RANDOMISED, 3)
    finally:
        torch.set_num_threads(threads)
    assert digest(first.array) == digest(again.array)
    assert first.array.dtype == np.int16


def test_another_seed_paints_another_image() -> None:
    assert digest(paint(anatomy(), SPACING_MM, PLAIN, 1)) != digest(plain_painting()[0])


@pytest.mark.parametrize("seed", range(3))
def test_synthetic_anatomy_holds_every_organ_in_a_plausible_size(seed: int) -> None:
    labels = anatomy(seed)
    volume_ml = np.bincount(labels.ravel(), minlength=14) * np.prod(SPACING_MM) / 1000
    lowest = (0, 800, 80, 60, 30, 30, 30, 0.5, 0.5, 8, 5, 150, 25, 80)
    highest = (1e9, 3200, 420, 500, 250, 250, 250, 15, 15, 160, 80, 1100, 250, 420)
    for organ in range(1, 14):
        assert lowest[organ] < volume_ml[organ] < highest[organ], FLARE22.names[organ - 1]


def test_synthetic_anatomy_is_the_same_for_the_same_seed() -> None:
    assert digest(synthetic_anatomy(0, SPACING_MM, SHAPE)) == digest(anatomy())


def test_the_right_kidney_stays_on_the_patients_right_in_every_painting() -> None:
    for seed in range(4):
        _, labels = paint_case(canonical_volume(anatomy(), SPACING_MM), RANDOMISED, seed)
        right, left, liver = (np.nonzero(labels.array == c)[2] for c in (2, 13, 1))
        if len(right) and len(left):
            assert right.mean() < left.mean()
        assert liver.mean() < SHAPE[2] / 2


def test_every_organ_survives_the_plain_recipe_and_labels_stay_where_they_are() -> None:
    _, labels = paint_case(canonical_volume(anatomy(), SPACING_MM), PLAIN, 0)
    assert np.array_equal(labels.array, anatomy())


def test_warps_add_no_label_and_move_the_organs() -> None:
    warp = replace(RANDOMISED, warp=WarpRecipe(remove_gallbladder=0, remove_kidney=0, crop=0, extend_below=0))
    _, labels = paint_case(canonical_volume(anatomy(), SPACING_MM), warp, 1)
    assert set(np.unique(labels.array)) == set(range(14))
    liver, before = np.argwhere(labels.array == 1), np.argwhere(anatomy() == 1)
    assert not np.allclose(liver.mean(axis=0), before.mean(axis=0), atol=0.1)


@pytest.mark.parametrize(
    "organ", ["LIVER", "SPLEEN", "PANCREAS", "AORTA", "INFERIOR_VENA_CAVA", "GALLBLADDER", "RIGHT_ADRENAL_GLAND"]
)
def test_organs_have_published_hu_in_the_plain_recipe(organ: str) -> None:
    image, tissue = plain_painting()
    ranges = MEAN_HU[Tissue[organ]]
    low, high = ranges[2] if len(ranges) > 1 else ranges[0]
    slack = 25 if "ADRENAL" in organ else 14  # a slow field and texture; thin organs are mixed with fat
    assert low - slack < np.median(image[tissue == Tissue[organ]]) < high + slack


@pytest.mark.parametrize(
    ("tissue", "low", "high"),
    [
        (Tissue.AIR, -1024, -950),
        (Tissue.LUNG, -950, -650),
        (Tissue.SUBCUTANEOUS_FAT, -130, -70),
        (Tissue.VISCERAL_FAT, -125, -55),
        (Tissue.MUSCLE, 30, 85),
        (Tissue.MARROW, 80, 330),
    ],
)
def test_surroundings_have_published_hu_in_the_plain_recipe(tissue: Tissue, low: float, high: float) -> None:
    image, tissues = plain_painting()
    inside = tissues == tissue
    assert inside.sum() > 200
    assert low <= np.median(image[inside]) <= high


def test_a_painting_is_full_of_distractors_without_a_label() -> None:
    _, tissues = plain_painting()
    outside = set(np.unique(tissues[anatomy() == 0]).tolist())
    expected = {Tissue.BOWEL_WALL, Tissue.MUSCLE, Tissue.MARROW, Tissue.CANAL, Tissue.VEIN, Tissue.ARTERY, Tissue.LUNG}
    assert expected | {Tissue.HEART_WALL, Tissue.HEART_BLOOD, Tissue.SKIN, Tissue.CORTEX} <= outside


def test_a_third_of_the_palettes_are_wide_and_keep_fat_and_bone() -> None:
    palettes = [draw_palette(RANDOMISED.tissue, np.random.default_rng(i)) for i in range(300)]
    wide = [p for p in palettes if p.wide]
    assert 70 < len(wide) < 130
    livers = np.array([p.mean_hu[Tissue.LIVER] for p in wide])
    assert livers.min() < 0 and livers.max() > 240
    assert all(p.mean_hu[Tissue.SUBCUTANEOUS_FAT] < -85 for p in palettes)


def test_a_painting_takes_the_spacing_and_size_that_were_asked_for() -> None:
    volume = canonical_volume(anatomy(), SPACING_MM)
    image, labels = paint_case(volume, PLAIN, 0, spacing_mm=(8.0, 4.0, 4.5), size=100)
    assert image.array.shape == labels.array.shape == (33, 100, 100)
    assert image.spacing_mm == pytest.approx((8.0, 4.0, 4.5))
    before = np.bincount(anatomy().ravel())[1] * np.prod(SPACING_MM)
    assert np.bincount(labels.array.ravel())[1] * 8.0 * 4.0 * 4.5 == pytest.approx(before, rel=0.05)


def test_a_label_map_without_organs_cannot_be_painted() -> None:
    with pytest.raises(InputError, match="labelled voxels"):
        paint_case(canonical_volume(np.zeros((7, 20, 30), np.uint8), SPACING_MM), PLAIN, 0)


def test_a_map_that_loses_its_organs_on_the_way_is_named() -> None:
    labels = np.zeros((20, 64, 64), dtype=np.uint8)
    labels[8:12, 20:30, 20:30] = FLARE22.names.index("gallbladder") + 1
    volume = replace(canonical_volume(labels, SPACING_MM), path=Path("gallbladder.nii.gz"))
    lost = replace(PLAIN, warp=replace(PLAIN.warp, remove_gallbladder=1.0))
    with pytest.raises(InputError, match=r"^gallbladder\.nii\.gz: keeps 0 labelled voxels"):
        paint_case(volume, lost, 0)
    with pytest.raises(InputError, match=r"^gallbladder\.nii\.gz: keeps \d+ labelled voxels"):
        paint_case(volume, PLAIN, 0, spacing_mm=(20.0, 10.0, 10.0))


def test_organs_finer_than_the_frames_grid_are_refused() -> None:
    labels = np.zeros((40, 64, 64), dtype=np.uint8)
    labels[10:15, 20:25, 21:26] = 1
    with pytest.raises(InputError, match="too small"):
        paint(labels, (0.5, 0.5, 0.5), PLAIN, 0)


def test_organs_of_other_label_sets_are_painted_too() -> None:
    labs = LabelSet(name="lab", names=("tumour", "liver"), ids=(5, 9))
    labels = np.where(anatomy() == 1, 2, np.where(anatomy() == 3, 1, 0)).astype(np.uint8)
    assert organ_tissues(labs)[1] == Tissue.OTHER_ORGAN
    assert paint(labels, SPACING_MM, PLAIN, 0, organs=labs).shape == SHAPE


def test_a_single_slice_can_be_painted() -> None:
    labels = np.ascontiguousarray(anatomy()[27:28])
    assert paint(labels, SPACING_MM, RANDOMISED, 0).shape == (1, *SHAPE[1:])


def test_the_recipe_hash_knows_parameters_and_not_names() -> None:
    assert replace(PLAIN, name="other").sha256() == PLAIN.sha256()
    assert replace(PLAIN, warp=WarpRecipe()).sha256() != PLAIN.sha256()


def test_the_identity_warp_keeps_every_voxel() -> None:
    source = Grid(shape=SHAPE, spacing_mm=SPACING_MM)
    warp = draw_warp(anatomy(), source, SPACING_MM, None, PLAIN.warp, np.random.default_rng(0))
    assert np.array_equal(warp_labels(anatomy(), warp), anatomy())


def test_upsampling_keeps_the_corners_and_the_middle() -> None:
    field = upsample(np.arange(8, dtype=np.float32).reshape(2, 2, 2), (3, 5, 7))
    assert (field[0, 0, 0], field[-1, -1, -1], field[1, 2, 3]) == (0, 7, 3.5)


def test_a_stamped_ball_has_the_volume_of_a_ball() -> None:
    grid = Grid(shape=(20, 30, 40), spacing_mm=(2.0, 1.5, 1.0))
    mask = np.zeros(grid.shape, dtype=bool)
    stamp(mask, grid, Curve(points_mm=np.array([[18.0, 21.0, 19.0]]), radius_mm=np.array([9.0])))
    assert mask.sum() * 3.0 == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.03)
