"""Fields of view that show a part of a slice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flarekit.config.preprocessing import WINDOWS
from flarekit.config.training import AUGMENTATIONS, AugmentationConfig
from flarekit.data.augmentation import UNCHANGED, change_images, cut_field, draw_change
from flarekit.data.field_of_view import FieldOfView, draw_field

SIDE = 40
CORNER = FieldOfView(size=(0.5, 0.25), place=(1.0, 0.0), elliptic=False)  # lowest rows, first columns: 20 x 10 pixels


def drawn(smallest: float, count: int = 600) -> list[FieldOfView | None]:
    return [draw_field(smallest, np.random.default_rng(seed)) for seed in range(count)]


def test_half_of_the_samples_are_cut_a_third_of_these_to_an_ellipse_and_none_further_than_asked_for() -> None:
    fields = [field for field in drawn(0.6) if field is not None]
    assert 0.44 < len(fields) / 600 < 0.56
    assert 0.25 < np.mean([field.elliptic for field in fields]) < 0.42
    sizes = np.array([field.size for field in fields])
    assert 0.6 <= sizes.min() < 0.61 and 0.99 < sizes.max() <= 1
    assert abs(np.corrcoef(sizes.T)[0, 1]) < 0.15  # rows and columns are cut apart from each other


def test_nothing_is_cut_by_default_and_other_changes_stay_what_they_were() -> None:
    assert AugmentationConfig().field_of_view == 1 and not any(drawn(1.0))
    cut = AUGMENTATIONS["scanners"]
    assert cut.field_of_view < 0.6  # what an inner 60 % of a CT asks for
    for seed in range(20):
        changes = [
            draw_change(config, np.random.default_rng(seed)) for config in (replace(cut, field_of_view=1.0), cut)
        ]
        assert changes[0] == replace(changes[1], field=None)


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=f"field_of_view is a share above 0 to 1, got {share}"):
        AugmentationConfig(field_of_view=share)


def test_images_and_classes_are_cut_alike_moved_to_the_middle_and_have_air_around() -> None:
    numbered = torch.arange(1.0, SIDE * SIDE + 1).reshape(1, 1, SIDE, SIDE)
    change = replace(UNCHANGED, field=CORNER)
    image, classes = cut_field(numbered, change), cut_field((numbered[:, 0] % 251 + 1).to(torch.uint8), change)
    assert classes.dtype == torch.uint8
    assert torch.equal(image[0, 0, 10:30, 15:25], numbered[0, 0, 20:40, 0:10])
    assert torch.equal(image[0, 0] > 0, classes[0] > 0) and int((classes > 0).sum()) == 20 * 10


def test_an_ellipse_touches_the_sides_of_its_rectangle() -> None:
    inside = replace(CORNER, elliptic=True).inside(SIDE)
    rows, columns = inside.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 29, 15, 24)
    assert int(inside.sum()) == pytest.approx(np.pi / 4 * 200, rel=0.05) and not inside[10, 15]


def test_noise_and_contrast_end_where_the_field_does() -> None:
    change = replace(UNCHANGED, field=CORNER, noise_hu=50.0, gamma=1.3)
    image = change_images(torch.full((1, 3, SIDE, SIDE), 0.5), change, side=SIDE, windows=WINDOWS["paper"])
    cut = cut_field(image, change)
    assert (cut[..., ~CORNER.inside(SIDE)] == 0).all() and cut[..., CORNER.inside(SIDE)].std() > 0.01


@pytest.mark.parametrize("around", [(0.5, 0.5), (39.5, 2.5), (20.0, 31.0)])
def test_a_place_that_is_followed_stays_in_the_field(around: tuple[float, float]) -> None:
    spot = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    spot[0, int(around[0]), int(around[1])] = 1
    for field in drawn(0.3, 200):
        assert int(cut_field(spot, replace(UNCHANGED, field=field), around=around).sum()) == 1
