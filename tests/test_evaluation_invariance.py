"""A CT in disguise: what files hold, and where masks of them are held against the CT's own."""

from __future__ import annotations

import json
from collections import Counter

import nibabel
import numpy as np
import pytest
from segmentation_doubles import painted_classes, painted_ct, publish_tiny
from typer.testing import CliRunner

from flarekit.cli.commands import app
from flarekit.errors import InputError, UsageError
from flarekit.evaluation.disguises import fields_of_view, orientations, sizes, spacings, values
from flarekit.evaluation.invariance import brought, compare_disguises, parse_kinds
from flarekit.evaluation.invariance_tables import invariance_json, invariance_markdown, invariance_rows
from flarekit.labels import IGNORE, LabelSet
from flarekit.volumes import Volume, write_volume

ORGANS = LabelSet(name="two", names=("block", "pea"), ids=(4, 9))
SHAPE = (12, 40, 52)


def by_brightness(ct: Volume) -> np.ndarray:
    """Reads `painted_ct` off its HU."""
    return np.select([ct.array > 150, ct.array > 50], [2, 1], 0).astype(np.uint8)


def test_the_48_orientations_are_different_files_of_the_same_voxels():
    ct = painted_ct()
    found = list(orientations(ct))
    codes = {"".join(nibabel.aff2axcodes(each.affine)) for each in found}
    assert len(found) == len(codes) == len({each.name for each in found}) == 48
    for each in found:
        mirrored = Volume.from_source(each.array, each.affine)
        assert np.array_equal(mirrored.array, ct.array)
        assert np.allclose(mirrored.affine, ct.affine, atol=1e-9)


def test_a_spacing_keeps_the_extent_and_the_place():
    ct = painted_ct()  # 48 x 80 x 104 mm
    for each in (*spacings(ct), *sizes(ct)):
        shape, corners = np.array(each.array.shape), []
        for volume_shape, affine in ((shape, each.affine), (np.array(SHAPE), ct.affine)):
            corners.append([affine @ (*(end * volume_shape - 0.5), 1.0) for end in (0, 1)])
        assert np.allclose(corners[0], corners[1], atol=1e-9), each.name
    sizes_px = {each.name: each.array.shape for each in spacings(ct)}
    assert sizes_px["pixels of 1 mm"] == (12, 80, 104)
    assert sizes_px["slices 8 mm apart"] == (6, 40, 52)
    assert next(iter(sizes(ct))).array.shape == (12, 768, 768)


def test_coarser_slices_average_what_they_cover():
    ct = painted_ct()
    ramp = ct.like(np.broadcast_to(np.arange(12, dtype=np.int16)[:, None, None] * 100, SHAPE))
    thick = next(each for each in spacings(ramp) if each.name == "slices 8 mm apart")
    assert thick.array[2:4, 20, 20].tolist() == [450, 650]


def test_numbers_are_stored_in_other_types_and_mean_the_same():
    ct = painted_ct()
    found = {each.name: each for each in values(ct)}
    assert [each.array.dtype.name for each in found.values()] == ["int16", "float32", "uint16", "uint16"]
    assert found["uint16, intercept lost"].array[3, 0, 0] == 24
    assert found["uint16, intercept -1024"].intercept == -1024


def test_a_crop_lies_where_the_ct_has_it():
    ct = painted_ct()
    upper = next(each for each in fields_of_view(ct) if each.name == "upper half")
    assert np.array_equal(upper.array, ct.array[6:])
    assert np.allclose(upper.affine @ (0, 3, 5, 1), ct.affine @ (6, 3, 5, 1))


def test_classes_are_brought_to_the_voxels_of_another_grid_and_nowhere_else():
    ct = painted_ct()
    upper = next(each for each in fields_of_view(ct) if each.name == "upper half")
    seen = brought(painted_classes()[6:], upper.affine, ct)
    assert (seen[:6] == IGNORE).all()
    assert np.array_equal(seen[6:], painted_classes()[6:])


def test_a_segmenter_that_follows_the_values_is_invariant():
    scores = list(compare_disguises(painted_ct(), by_brightness, ORGANS))
    assert Counter(each.kind for each in scores) == {
        "orientation": 48,
        "spacing": 8,
        "values": 4,
        "field-of-view": 5,
        "size": 1,
    }
    assert all(each.mean == 1 for each in scores if each.kind in ("orientation", "field-of-view"))
    assert [each.mean for each in scores if each.kind == "values"][:3] == [1, 1, 1]
    resampled = [each for each in scores if each.kind in ("spacing", "size")]
    assert all(each.ceiling is not None and each.mean is not None for each in resampled)
    fine = next(each for each in resampled if each.name == "pixels of 1 mm")
    assert fine.ceiling == 1
    assert fine.mean > 0.9


def test_a_segmenter_that_sees_the_place_in_the_volume_is_not():
    def middle_slice_only(ct: Volume) -> np.ndarray:
        classes = np.zeros(ct.array.shape, dtype=np.uint8)
        classes[len(classes) // 2, 10:30, 10:30] = 1
        return classes

    upper = [each for each in compare_disguises(painted_ct(), middle_slice_only, ORGANS, ["field-of-view"])][-1]
    assert upper.name == "upper half"
    assert upper.dice == {"block": 0.0}


def test_the_same_voxels_are_segmented_once():
    asked: list[Volume] = []

    def counting(ct: Volume) -> np.ndarray:
        asked.append(ct)
        return by_brightness(ct)

    scores = list(compare_disguises(painted_ct(), counting, ORGANS, ["orientation"]))
    assert len(scores) == 48
    assert len(asked) == 1


def test_a_refused_disguise_says_why():
    def refuses(ct: Volume) -> np.ndarray:
        if len(ct.array) < 12:
            raise InputError("has too few slices", where=ct.path)
        return by_brightness(ct)

    scores = list(compare_disguises(painted_ct(), refuses, ORGANS, ["field-of-view"]))
    assert [each.error for each in scores] == ["", "", *["ct.nii: has too few slices."] * 3]
    assert scores[-1].to_json() == {
        "kind": "field-of-view",
        "name": "upper half",
        "error": "ct.nii: has too few slices.",
    }
    assert "| upper half: ct.nii: has too few slices. | - | - | - | - |" in invariance_markdown(scores)


def test_orientations_are_one_row_with_the_least_of_them():
    scores = list(compare_disguises(painted_ct(), by_brightness, ORGANS, ["orientation", "values"]))
    rows = list(invariance_rows(scores))
    assert rows[0] == ("48 orientations", 1.0, "block", 1.0, None)
    types = ["int16", "float32", "uint16, intercept -1024", "uint16, intercept lost"]
    assert [row[0] for row in rows] == ["48 orientations", *types]
    report = invariance_json(scores, case="ct", shape=SHAPE, spacing_mm=(4.0, 2.0, 2.0), models={})
    assert report["organs"]["orientation"]["pea"] == {"mean": 1.0, "lowest": 1.0}
    json.dumps(report, allow_nan=False)


def test_kinds_are_named_with_commas_between():
    assert parse_kinds("size, values") == ("size", "values")
    with pytest.raises(UsageError, match="unknown kind of disguise 'colour'"):
        parse_kinds("size,colour")


def test_the_command_prints_a_table_and_writes_it_as_markdown(tmp_path):
    publish_tiny("tiny")
    write_volume(tmp_path / "ct.nii.gz", painted_ct())
    command = ["evaluate", "invariance", str(tmp_path / "ct.nii.gz"), "--model", "tiny", "--no-propagation"]
    done = CliRunner().invoke(
        app, [*command, "--kinds", "orientation", "--markdown", str(tmp_path / "table.md"), "--json", "--device", "cpu"]
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["models"] == {"reference": "tiny@1"}
    assert {each["mean"] for each in report["disguises"]} <= {1.0, None}
    assert "48 orientations" in (tmp_path / "table.md").read_text()
