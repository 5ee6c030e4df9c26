"""Label maps that go on into the chest: what is there, and that those of other recipes stay as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flarekit.config.phantom import RECIPES, ChestRecipe
from flarekit.labels import FLARE22
from flarekit.phantom import canonical_volume, paint_case, synthetic_anatomy
from flarekit.phantom.above import go_on_above
from flarekit.phantom.grid import Grid

SPACING_MM = (5.0, 3.0, 2.0)
CLASSES = {name: c for c, name in enumerate(FLARE22.names, start=1)}
AORTA, ESOPHAGUS, LIVER = CLASSES["aorta"], CLASSES["esophagus"], CLASSES["liver"]
ALWAYS = ChestRecipe(share=1.0, above_mm=(60.0, 60.0))


def labels() -> np.ndarray:
    """A liver, an aorta and an esophagus on the last of eight slices, a spleen below."""
    classes = np.zeros((8, 60, 70), dtype=np.uint8)
    classes[:, 10:40, 5:30] = LIVER
    classes[2:5, 10:40, 50:60] = CLASSES["spleen"]
    classes[:, 40:48, 34:44] = AORTA
    classes[:, 30:35, 36:42] = ESOPHAGUS
    return classes


def extended(recipe: ChestRecipe = ALWAYS, seed: int = 0, of: np.ndarray | None = None) -> np.ndarray:
    classes = labels() if of is None else of
    grid = Grid(shape=classes.shape, spacing_mm=SPACING_MM)
    found, larger = go_on_above(classes, grid, CLASSES, recipe, np.random.default_rng(seed))
    assert found.shape == larger.shape and larger.spacing_mm == SPACING_MM and found.dtype == np.uint8
    return found


def test_aorta_and_esophagus_go_on_for_so_many_mm_and_nothing_else() -> None:
    found = extended()
    np.testing.assert_array_equal(found[:8], labels())
    assert len(found) == 8 + 12
    for plane in found[8:]:
        assert set(np.unique(plane)) == {0, AORTA, ESOPHAGUS}
        assert (plane == AORTA).sum() == 80 and (plane == ESOPHAGUS).sum() <= 30


def test_courses_bend_by_mm_and_without_a_jump() -> None:
    straight = extended(replace(ALWAYS, bend_mm=0.0))
    np.testing.assert_array_equal(straight[8:] == AORTA, np.broadcast_to(labels()[-1] == AORTA, (12, 60, 70)))
    for seed in range(5):
        found = extended(seed=seed)
        middles = np.array([np.argwhere(plane == AORTA).mean(axis=0) for plane in found[7:]]) * SPACING_MM[1:]
        assert np.abs(np.diff(middles, axis=0)).max() <= 3.0
        assert np.abs(middles - middles[0]).max() <= 2 * ALWAYS.bend_mm + 1.5
        assert np.abs(middles - middles[0]).max() > 0


def test_what_the_last_slice_does_not_show_does_not_go_on() -> None:
    ends = labels()
    ends[5:][ends[5:] == ESOPHAGUS] = 0
    assert ESOPHAGUS not in extended(of=ends)[8:]


def test_a_share_of_the_maps_goes_on() -> None:
    longer = [len(extended(replace(ALWAYS, share=0.3), seed)) > 8 for seed in range(400)]
    assert 0.2 < np.mean(longer) < 0.4
    np.testing.assert_array_equal(extended(replace(ALWAYS, share=0.0)), labels())
    with pytest.raises(ValueError, match="share"):
        ChestRecipe(share=1.5)


def test_a_painting_shows_lungs_and_heart_above_the_liver() -> None:
    spacing_mm = (6.0, 4.0, 4.0)
    anatomy = synthetic_anatomy(0, spacing_mm, (46, 96, 100))
    plain = RECIPES["plain"]
    recipe = replace(plain, chest=ChestRecipe(share=1.0, above_mm=(90.0, 90.0)))
    volume = canonical_volume(anatomy, spacing_mm)
    before, _ = paint_case(volume, plain, 0)
    image, found = paint_case(volume, recipe, 0)
    assert len(image.array) == len(before.array) + 15
    chest = image.array[-15:]
    lungs = np.mean((chest > -950) & (chest < -600))
    assert lungs > 2 * np.mean((before.array > -950) & (before.array < -600)) and lungs > 0.05
    assert set(np.unique(found.array[-15:])) <= {0, AORTA, ESOPHAGUS}


def test_the_chests_recipe_is_the_randomised_one_beside() -> None:
    chests = RECIPES["chests"]
    assert replace(chests, name="randomised", chest=None) == RECIPES["randomised"]
    assert chests.sha256() != RECIPES["randomised"].sha256()
