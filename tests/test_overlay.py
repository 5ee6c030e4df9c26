"""The overlay figure: which cuts it shows, how they are turned, and that it is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from segmentation_doubles import ORGANS, painted_classes, painted_volume

from flarekit.errors import OutputError
from flarekit.report.overlay import blend, colour, draw_overlay, informative, panels
from flarekit.volumes import Volume


def test_the_slices_shown_are_those_that_show_every_organ_near_its_largest():
    classes = np.zeros((9, 4, 5), dtype=np.uint8)
    classes[2, 0, :3] = 1  # largest here
    classes[3, 0, :2] = 1
    classes[6, 1, :4] = 2  # largest here
    classes[7, 1, :1] = 2
    assert informative(classes, 2, axis=0) == [2, 6]
    assert informative(classes, 1, axis=1) in ([0], [1])
    assert len(informative(classes, 20, axis=0)) == 9


def test_an_empty_mask_shows_slices_spread_over_the_volume():
    assert informative(np.zeros((9, 4, 5), dtype=np.uint8), 2, axis=0) == [3, 6]
    assert informative(np.zeros((1, 4, 5), dtype=np.uint8), 3, axis=0) == [0]


def test_the_head_is_up_in_the_coronal_cut():
    *axial, coronal = panels(painted_volume(), painted_classes())
    assert [panel.title.split()[:2] for panel in axial][0][0] == "slice"
    assert coronal.sides == ("R", "L", "H", "F")
    depth = len(painted_classes())
    assert coronal.classes.shape[0] == depth
    rows = np.flatnonzero(coronal.classes.any(axis=1))
    assert (rows.min(), rows.max()) == (depth - 1 - 9, depth - 1 - 2)  # the block lies on slices 2 to 9
    assert coronal.pixel_mm == (4.0, 2.0)


def test_organs_are_tinted_and_outlined_and_the_rest_stays_grey():
    classes = np.zeros((5, 6), dtype=np.uint8)
    classes[1:4, 1:5] = 1
    image = blend(np.full((5, 6), 50, dtype=np.int16), classes)
    assert image.shape == (5, 6, 3)
    np.testing.assert_allclose(image[0, 0], 0.5)
    red = int(colour(1)[1:3], 16) / 255
    assert image[2, 2, 0] == pytest.approx(0.5 * 0.62 + red * 0.38)
    assert image[1, 2, 0] == pytest.approx(0.5 * 0.05 + red * 0.95)


def test_far_beyond_the_window_is_black_or_white():
    image = blend(np.array([[-3024, 3071]], dtype=np.int16), np.zeros((1, 2), dtype=np.uint8))
    assert image[0, :, 0].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("classes", [painted_classes(), np.zeros_like(painted_classes())])
def test_a_png_is_written_whole_and_not_over_another(tmp_path, classes):
    path = tmp_path / "look.png"
    draw_overlay(path, painted_volume(), classes, ORGANS)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 10_000
    with pytest.raises(OutputError, match="exists already"):
        draw_overlay(path, painted_volume(), classes, ORGANS)
    draw_overlay(path, painted_volume(), classes, ORGANS, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["look.png"]


def test_only_pngs_are_drawn(tmp_path):
    with pytest.raises(OutputError, match="look.jpg"):
        draw_overlay(tmp_path / "look.jpg", painted_volume(), painted_classes(), ORGANS)


def test_slices_are_numbered_as_the_file_stores_them():
    hu = painted_volume().array
    head_first = Volume.from_source(hu[::-1].transpose(2, 1, 0), np.diag([-2.0, -2.0, -4.0, 1.0]))
    assert np.array_equal(head_first.array, hu)
    first, *_ = panels(head_first, painted_classes())
    lowest = informative(painted_classes(), 3, axis=0)[0]
    assert first.title == f"slice {len(hu) - 1 - lowest}  ({head_first.z_mm(lowest):.0f} mm)"
