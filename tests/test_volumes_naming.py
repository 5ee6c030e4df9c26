"""Organs named inside the files of label maps, and in colour tables beside them."""

from __future__ import annotations

import xml.etree.ElementTree

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from flarekit.volumes import Volume, read_labels, write_labels
from flarekit.volumes.colour_tables import itk_snap, slicer
from flarekit.volumes.naming import NamedLabel

LABELS = (
    NamedLabel(id=4, name="left ear", colour=(255, 0, 51)),
    NamedLabel(id=300, name='odd <"]]>\n name', colour=(0, 128, 255)),
)


@pytest.fixture
def mask() -> Volume:
    array = np.zeros((3, 4, 5), dtype=np.uint16)
    array[1, 2, 3], array[2, 0, 0] = 4, 300
    return Volume.from_source(array, np.diag([-1.0, 2.0, 3.0, 1.0]))


def test_a_nifti_file_names_its_labels_in_carets_extension(mask, tmp_path):
    write_labels(tmp_path / "mask.nii.gz", mask, labels=LABELS)
    (extension,) = nib.load(tmp_path / "mask.nii.gz").header.extensions
    assert extension.get_code() == 0
    table = xml.etree.ElementTree.fromstring(extension.get_content()).find("VolumeInformation/LabelTable")
    assert {int(label.get("Key")): label.text for label in table} == {4: "left ear", 300: 'odd <"]]> name'}
    assert [float(table[0].get(part)) for part in ("Red", "Green", "Blue", "Alpha")] == [1, 0, 0.2, 1]


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nrrd", ".mha"])
def test_nrrd_and_metaimage_name_their_labels_as_slicers_segments(mask, tmp_path, suffix):
    write_labels(tmp_path / f"mask{suffix}", mask, labels=LABELS)
    image = sitk.ReadImage(tmp_path / f"mask{suffix}")
    assert image.GetMetaData("Segment0_Name") == "left ear" and image.GetMetaData("Segment0_LabelValue") == "4"
    assert image.GetMetaData("Segment1_LabelValue") == "300" and image.GetMetaData("Segment1_Layer") == "0"
    assert image.GetMetaData("Segment0_Color") == "1 0 0.2"
    assert image.GetMetaData("Segment1_Extent") == "0 2 0 3 0 4"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".seg.nrrd", ".mha"])
def test_a_label_map_with_names_reads_as_one_without(mask, tmp_path, suffix):
    write_labels(tmp_path / f"mask{suffix}", mask, labels=LABELS)
    again = read_labels(tmp_path / f"mask{suffix}")
    assert np.array_equal(again.array, mask.array)
    assert np.allclose(again.affine, mask.affine)


def test_itk_snaps_descriptions_have_eight_columns_and_a_clear_label():
    lines = [line for line in itk_snap(LABELS).splitlines() if not line.startswith("#")]
    assert [line.split()[:7] for line in lines] == [
        ["0", "0", "0", "0", "0", "0", "0"],
        ["4", "255", "0", "51", "1", "1", "1"],
        ["300", "0", "128", "255", "1", "1", "1"],
    ]
    assert lines[1].endswith('"left ear"') and lines[2].count('"') == 2


def test_slicers_colour_table_has_one_word_a_name_and_its_number_of_values():
    lines = slicer(LABELS).splitlines()
    assert lines[0].startswith("# Color table file") and lines[1] == "# 3 values"
    assert lines[2:4] == ["0 background 0 0 0 0", "4 left_ear 255 0 51 255"]
    assert all(len(line.split()) == 6 for line in lines[2:])
