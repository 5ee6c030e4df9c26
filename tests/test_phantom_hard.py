"""Hard painted cases: the same anatomy as the easy ones, one kind of trouble each."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from flarekit.config.hard import HARD_KINDS, harden
from flarekit.config.phantom import LOW_ENERGY, RECIPES, MetalRecipe, TissueRecipe
from flarekit.phantom import Tissue, canonical_volume, paint, paint_case, paint_tissues, synthetic_anatomy
from flarekit.phantom.grid import Grid
from flarekit.phantom.metal import Implant, _add_path, _back_project, _body, _detector, _place, _ray_errors
from flarekit.phantom.tissues import draw_palette
from flarekit.volumes import Volume, write_labels

SPACING_MM = (8.0, 5.0, 5.2)
SHAPE = (33, 74, 78)
PLAIN, RANDOMISED = RECIPES["plain"], RECIPES["randomised"]


@cache
def anatomy() -> np.ndarray:
    return synthetic_anatomy(0, SPACING_MM, SHAPE)


@cache
def easy() -> np.ndarray:
    return paint(anatomy(), SPACING_MM, PLAIN, 0)


@cache
def randomised_case() -> tuple[Volume, Volume]:
    return paint_case(canonical_volume(anatomy(), SPACING_MM), RANDOMISED, 3)


@cache
def hard(kind: str) -> np.ndarray:
    return paint(anatomy(), SPACING_MM, harden(PLAIN, kind), 0)


@pytest.mark.parametrize("kind", HARD_KINDS)
def test_a_hard_case_shows_the_easy_ones_anatomy(kind: str) -> None:
    image, labels = randomised_case()
    hard_image, hard_labels = paint_case(canonical_volume(anatomy(), SPACING_MM), harden(RANDOMISED, kind), 3)
    assert np.array_equal(labels.array, hard_labels.array)
    assert not np.array_equal(image.array, hard_image.array)
    tissues = [paint_tissues(labels.array, SPACING_MM, recipe, 3) for recipe in (RANDOMISED, harden(RANDOMISED, kind))]
    assert np.array_equal(*tissues)


def test_the_same_seed_paints_the_same_metal() -> None:
    assert np.array_equal(paint(anatomy(), SPACING_MM, harden(PLAIN, "metal"), 0), hard("metal"))


def test_noise_exceeds_the_most_that_training_shows() -> None:
    liver = paint_tissues(anatomy(), SPACING_MM, PLAIN, 0) == Tissue.LIVER
    assert easy()[liver].std() < RANDOMISED.scanner.noise_hu[1] < 60 < hard("noise")[liver].std() < 250


def test_organs_with_iodine_leave_the_ranges_of_training_and_the_others_stay() -> None:
    palettes = [draw_palette(harden(RANDOMISED, "phase").tissue, np.random.default_rng(seed)) for seed in range(50)]
    assert {palette.phase for palette in palettes} == {LOW_ENERGY}
    mean_hu = np.array([palette.mean_hu for palette in palettes])
    highest = RANDOMISED.tissue.wide_hu[1]
    assert mean_hu[:, Tissue.RIGHT_KIDNEY].min() > 400 > highest
    assert mean_hu[:, Tissue.AORTA].min() > highest
    assert 180 < mean_hu[:, Tissue.LIVER].min() < mean_hu[:, Tissue.SPLEEN].max() < 400
    assert mean_hu[:, Tissue.GALLBLADDER].max() < 30 and mean_hu[:, Tissue.VISCERAL_FAT].max() < -70


def test_low_resolution_blurs_in_plane_and_through_it() -> None:
    for axis in range(3):
        sharp, soft = (np.abs(np.diff(image.astype(float), axis=axis)).mean() for image in (easy(), hard("resolution")))
        assert soft < 0.8 * sharp


def test_metal_lies_in_no_organ_and_changes_only_the_slices_about_it() -> None:
    metal = hard("metal") == 3071
    assert metal.sum() > 20 and not metal[anatomy() > 0].any()
    changed = np.flatnonzero((hard("metal") != easy()).any(axis=(1, 2)))
    shown = np.flatnonzero(metal.any(axis=(1, 2)))
    assert changed[0] >= shown[0] - 5 and changed[-1] <= shown[-1] + 5 and len(changed) < SHAPE[0]


def test_streaks_reach_the_organs() -> None:
    shown = np.flatnonzero((hard("metal") == 3071).any(axis=(1, 2)))
    difference = (hard("metal").astype(float) - easy())[shown[0] : shown[-1]]
    inside = anatomy()[shown[0] : shown[-1]] > 0
    assert 10 < difference[inside].std() < 300
    assert abs(np.median(difference[inside])) < 20


def test_the_projections_of_an_ellipse_give_it_back_where_it_was() -> None:
    coarse = Grid(shape=(2, 70, 90), spacing_mm=(5.0, 1.5, 1.6))
    middle = coarse.extent_mm[1:] / 2
    place = np.array([[40.0, 95.0], [70.0, 45.0]])
    implant = Implant(middle_mm=place, along_mm=25.0, across_mm=10.0, turn=0.5, share=np.array([1.0, 0.5]))
    angles, position, _ = _detector(coarse)
    rays = np.zeros((len(angles), len(position), 2), dtype=np.float32)
    _add_path(rays, angles, position, middle, implant, slice(0, 2))
    image = _back_project(rays, coarse)
    _, y, x = coarse.axes_mm()
    for z, share in enumerate(implant.share):
        dy, dx = y[0] - place[z, 0], x[0] - place[z, 1]
        along, across = np.cos(0.5) * dx + np.sin(0.5) * dy, np.cos(0.5) * dy - np.sin(0.5) * dx
        radius = (along / 25) ** 2 + (across / 10) ** 2
        assert image[z][radius < 0.6].mean() == pytest.approx(share, rel=0.05)
        assert abs(image[z][radius > 1.6].mean()) < 0.03


def test_metal_fills_an_implants_voxels_where_they_are_free_and_no_others() -> None:
    grid = Grid(shape=(2, 8, 10), spacing_mm=(5.0, 1.0, 1.0))
    middle = np.array([[4.0, 5.0], [4.0, 5.0]])
    implant = Implant(middle_mm=middle, along_mm=2.5, across_mm=1.5, turn=0.0, share=np.array([0.5, 0.0]))
    hu, free = np.zeros(grid.shape, dtype=np.float32), np.ones(grid.shape, dtype=bool)
    free[:, :, 5:] = False
    _place(hu, free, grid, implant)
    assert sorted(map(tuple, np.argwhere(hu > 0).tolist())) == [
        (0, 3, 4), (0, 4, 3), (0, 4, 4), (0, 5, 4)
    ]  # fmt: skip
    assert set(hu[hu > 0].tolist()) == {3000.0}  # half of the slice's thickness


def test_a_body_weakens_rays_by_its_mean_width_and_depth() -> None:
    skin_mm = np.full((3, 8), 50.0)
    skin_mm[:, [0, 2, 4, 6]] = 100.0, 80.0, 140.0, 60.0  # left, back, right and front of the axis
    frame = SimpleNamespace(skin_mm=skin_mm, axis_mm=np.array([150.0, 200.0]))
    position = np.array([-71.0, -10.0, 0.0])
    along_y, along_x = _body(frame, np.array([0.0, np.pi / 2]), position, np.array([150.0, 190.0]))[:, :, 0]
    # The axis lies 10 mm beside the middle, where rays along y are counted from.
    deep = 2 * 70 * np.sqrt(1 - (np.array([81.0, 20.0, 10.0]) / 120) ** 2)
    wide = 2 * 120 * np.sqrt(np.maximum(1 - (position / 70) ** 2, 0))
    np.testing.assert_allclose(along_y, 0.02 * deep)
    np.testing.assert_allclose(along_x, 0.02 * wide, atol=1e-12)


def test_rays_through_metal_are_as_noisy_as_few_photons_make_them() -> None:
    """The variance of a ray's attenuation is one over the photons that arrive."""
    grid = Grid(shape=(40, 60, 60), spacing_mm=(5.0, 4.0, 4.0))
    middle = np.full((40, 2), 120.0)
    implant = Implant(middle_mm=middle, along_mm=60.0, across_mm=60.0, turn=0.0, share=np.ones(40))
    nobody = SimpleNamespace(skin_mm=np.full((40, 8), 1e-3), axis_mm=np.array([120.0, 120.0]))
    recipe = MetalRecipe(photons=(400.0, 400.0), attenuation_per_mm=(1e-3, 1e-3), hardening=(0.0, 0.0))
    errors = _ray_errors([implant], nobody, slice(0, 40), grid, recipe, np.random.default_rng(0))
    through = errors[errors != 0]
    assert through.std() == pytest.approx(1 / np.sqrt(400 * np.exp(-0.1)), rel=0.03)
    assert abs(through.mean()) < 1e-3


def test_a_recipe_without_metal_has_the_hash_it_had_before_there_was_any() -> None:
    assert RANDOMISED.sha256().startswith("ed66f7cfee09cc6e") and PLAIN.sha256().startswith("757343b3b3ec1766")
    assert len({harden(PLAIN, kind).sha256() for kind in HARD_KINDS} | {PLAIN.sha256()}) == len(HARD_KINDS) + 1


def test_metal_out_of_the_scan_changes_nothing() -> None:
    low = replace(PLAIN, metal=MetalRecipe(height_mm=(0.0, 0.0)))
    assert np.array_equal(paint(anatomy(), SPACING_MM, low, 0), easy())


def test_unknown_kinds_and_phases_are_refused() -> None:
    with pytest.raises(ValueError, match="'fog'"):
        harden(PLAIN, "fog")
    with pytest.raises(ValueError, match="'late'"):
        TissueRecipe(phases=("late",))


def paint_set(run_cli, folder: Path, *options: object):
    labels = folder.parent / "anatomy.nii.gz"
    if not labels.exists():
        write_labels(labels, canonical_volume(anatomy(), SPACING_MM))
    small = ("--labels", labels, "--recipe", "plain", "--spacing", 8, "--size", 48, "--slice-distance", 20)
    return run_cli("phantom", folder, *small, *options, "--json")


def test_one_kind_fills_the_folder_and_all_give_every_kind_its_own(run_cli, tmp_path: Path) -> None:
    one = json.loads(paint_set(run_cli, tmp_path / "one", "--hard", "noise").stdout)
    every = json.loads(paint_set(run_cli, tmp_path / "all", "--hard", "all").stdout)["kinds"]
    assert list(every) == ["easy", *HARD_KINDS]
    assert every["noise"]["cases"] == one["cases"]
    truths = {(tmp_path / "all" / kind / "labelled/labels/labelled_0001.nii.gz").read_bytes() for kind in every}
    assert len(truths) == 1
    assert (tmp_path / "one/labelled/images/labelled_0001_0000.nii.gz").exists()


def test_a_folder_of_easy_cases_is_not_gone_on_with_as_hard_ones(run_cli, tmp_path: Path) -> None:
    assert paint_set(run_cli, tmp_path / "set").code == 0
    outcome = paint_set(run_cli, tmp_path / "set", "--hard", "noise")
    assert outcome.code != 0 and "another recipe" in outcome.stderr


def test_an_unknown_kind_is_refused_on_the_command_line(run_cli, tmp_path: Path) -> None:
    outcome = paint_set(run_cli, tmp_path / "set", "--hard", "fog")
    assert outcome.code == 2 and "noise, phase, resolution, metal, all" in outcome.stderr
