"""DICOM-SEG as it is written: read back by pydicom and by hand, voxel for voxel."""

from __future__ import annotations

import importlib.util
import logging
import shutil
from pathlib import Path

import dicom_files as make
import numpy as np
import pydicom
import pytest
from dicom_seg_files import (
    FRAME_OF_REFERENCE,
    frames_of,
    places_in_nifti,
    places_in_segmentation,
    red_green_blue,
    write_series,
)

from flarekit.errors import InputError, MissingDependency, OutputError
from flarekit.volumes import Volume, read_labels, read_volume, write_labels
from flarekit.volumes.dicom.segmentation_writing import Algorithm, require_segmentable, write_segmentation
from flarekit.volumes.naming import NamedLabel

pytest.importorskip("highdicom", reason="highdicom is not installed: flarekit[dicom]")

LABELS = (
    NamedLabel(id=1, name="liver", colour=(200, 105, 60)),
    NamedLabel(id=2, name="right_kidney", colour=(255, 210, 63)),
    NamedLabel(id=3, name="gallbladder", colour=(63, 174, 73)),
)
ALGORITHM = Algorithm(
    maker="flarekit", version="0.1.0", name="flarekit mine@3", serial="5e" * 32, parameters={"reference": "mine@3"}
)
X, Y, Z = make.ORIGIN_MM
STEP = make.STEP_MM
TURN = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0)  # oblique in plane
LEAN = (1.0, 0.0, 0.0, 0.0, 0.8, 0.6)  # and out of it: the normal is (0, -0.6, 0.8)

GEOMETRIES = {
    "files in any order": {},
    "from the head down": {"ImagePositionPatient": lambda z: [X, Y, Z - z * STEP]},
    "feet first": {"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]},
    "prone": {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]},
    "turned": {"ImageOrientationPatient": list(TURN)},
    "oblique": {
        "ImageOrientationPatient": list(LEAN),
        "ImagePositionPatient": lambda z: [X, Y - 0.6 * z * STEP, Z + 0.8 * z * STEP],
    },
    "tilted gantry": {
        "ImageOrientationPatient": list(LEAN),
        "ImagePositionPatient": lambda z: [X, Y, Z + z * STEP],
    },
    "coronal": {
        "ImageOrientationPatient": [1, 0, 0, 0, 0, -1],
        "ImagePositionPatient": lambda z: [X, Y + z * STEP, Z],
    },
    "thirds of a millimetre": {"ImagePositionPatient": lambda z: [X / 3, Y / 7, f"{Z + z * STEP / 3:.10f}"]},
}


def painted(volume: Volume) -> Volume:
    """Three organs on a few slices of the volume, none on one of them, all with voxels off any line of symmetry."""
    k, rows, columns = volume.to_source_axes().transpose(2, 1, 0).shape
    ids = np.zeros((k, rows, columns), dtype=np.uint8)
    ids[0, 1:3, 2:5], ids[2, 0:4, 1], ids[2, 4, 5], ids[3, 0, 0] = 1, 2, 3, 1
    return volume.like(volume.source.reorientation.to_canonical(ids.transpose(2, 1, 0)))


def written(path: Path, source: Path, series: str | None = None) -> tuple[pydicom.Dataset, Volume]:
    """A DICOM-SEG of `painted`, as pydicom reads it, and the label map."""
    ids = painted(read_volume(source, series=series))
    write_segmentation(path, ids, LABELS, ALGORITHM)
    return pydicom.dcmread(path), ids


@pytest.mark.parametrize("elements", GEOMETRIES.values(), ids=GEOMETRIES)
def test_every_voxel_is_where_the_label_map_has_it(tmp_path, elements):
    ds, ids = written(tmp_path / "seg.dcm", write_series(tmp_path / "ct", **elements))
    write_labels(tmp_path / "mask.nii.gz", ids)
    places = places_in_segmentation(tmp_path / "seg.dcm")
    assert len(places) == np.count_nonzero(ids.array) == 12
    assert places == places_in_nifti(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(read_labels(tmp_path / "seg.dcm", like=ids).array, ids.array)


@pytest.mark.parametrize("elements", GEOMETRIES.values(), ids=GEOMETRIES)
def test_every_frame_refers_to_the_slice_it_lies_on(tmp_path, elements):
    source = write_series(tmp_path / "ct", **elements)
    ds, _ = written(tmp_path / "seg.dcm", source)
    slices = {ct.SOPInstanceUID: ct for ct in map(pydicom.dcmread, source.iterdir())}
    for group in ds.PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        position = slices[image.ReferencedSOPInstanceUID].ImagePositionPatient
        assert group.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(position)
        assert image.SpatialLocationsPreserved == "YES"
    (series,) = ds.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.3"
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == set(slices)


def test_slices_on_which_an_organ_is_not_have_no_frame(tmp_path):
    ds, _ = written(tmp_path / "seg.dcm", write_series(tmp_path / "ct"))
    assert ds.NumberOfFrames == 4
    assert frames_of(ds).any(axis=(1, 2)).all()
    assert len(ds.PixelData) == 16  # 4 frames of 30 bits, made even


def test_a_multi_frame_ct_is_referred_to_by_its_own_frame_numbers(tmp_path):
    make.save(make.enhanced_ct(FrameOfReferenceUID=FRAME_OF_REFERENCE), tmp_path / "ct.dcm")
    ds, ids = written(tmp_path / "seg.dcm", tmp_path / "ct.dcm")
    write_labels(tmp_path / "mask.nii.gz", ids)
    assert places_in_segmentation(tmp_path / "seg.dcm") == places_in_nifti(tmp_path / "mask.nii.gz")
    for group in ds.PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        level = round((float(group.PlanePositionSequence[0].ImagePositionPatient[2]) - Z) / STEP)
        assert image.ReferencedFrameNumber == make.ORDER.index(level) + 1
        assert image.ReferencedSOPInstanceUID == "1.2.9.1"


def test_a_zip_is_a_source_too(tmp_path):
    write_series(tmp_path / "ct")
    shutil.make_archive(str(tmp_path / "ct"), "zip", tmp_path / "ct")
    ds, ids = written(tmp_path / "seg.dcm", tmp_path / "ct.zip")
    np.testing.assert_array_equal(read_labels(tmp_path / "seg.dcm", like=ids).array, ids.array)


def test_compressed_slices_are_referred_to_as_plain_ones(tmp_path):
    for z in range(4):
        ds = make.ct_slice(make.HU[z], z, FrameOfReferenceUID=FRAME_OF_REFERENCE)
        make.save(make.compressed(ds, "JPEG", tmp_path), tmp_path / "ct" / f"{z}.dcm")
    ds, ids = written(tmp_path / "seg.dcm", tmp_path / "ct")
    np.testing.assert_array_equal(read_labels(tmp_path / "seg.dcm", like=ids).array, ids.array)


def test_the_series_that_was_chosen_is_the_one_referred_to(tmp_path):
    write_series(tmp_path / "ct")
    write_series(tmp_path / "ct", uid="1.2.5", prefix="other", PixelSpacing=[0.5, 0.5])
    ds, _ = written(tmp_path / "seg.dcm", tmp_path / "ct", series="5")
    assert ds.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.5"
    assert ds.SeriesNumber == 1005
    assert ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.5]


def test_segments_say_what_they_show_in_codes_and_colours_and_by_what_they_were_made(tmp_path):
    ds, _ = written(tmp_path / "seg.dcm", write_series(tmp_path / "ct"))
    assert [segment.SegmentNumber for segment in ds.SegmentSequence] == [1, 2, 3]
    assert [segment.SegmentLabel for segment in ds.SegmentSequence] == ["Liver", "Right kidney", "Gallbladder"]
    kidney = ds.SegmentSequence[1]
    structure, category = kidney.SegmentedPropertyTypeCodeSequence[0], kidney.SegmentedPropertyCategoryCodeSequence[0]
    assert (structure.CodeValue, structure.CodingSchemeDesignator) == ("64033007", "SCT")
    assert structure.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Right"
    assert (category.CodeValue, category.CodeMeaning) == ("91723000", "Anatomical Structure")
    assert kidney.SegmentAlgorithmType == "AUTOMATIC"
    made_by = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert (made_by.AlgorithmName, made_by.AlgorithmVersion, made_by.AlgorithmSource) == (
        "flarekit mine@3",
        "0.1.0",
        "flarekit",
    )
    assert made_by.AlgorithmParameters == "reference=mine@3"
    assert (ds.Manufacturer, ds.SoftwareVersions, ds.DeviceSerialNumber) == ("flarekit", "0.1.0", "5e" * 32)
    assert "CodingSchemeIdentificationSequence" not in ds


def test_colours_are_those_of_the_label_map(tmp_path):
    ds, _ = written(tmp_path / "seg.dcm", write_series(tmp_path / "ct"))
    for segment, label in zip(ds.SegmentSequence, LABELS, strict=True):
        assert red_green_blue(segment.RecommendedDisplayCIELabValue) == pytest.approx(label.colour, abs=1)


def test_patient_and_study_are_those_of_the_ct(tmp_path):
    elements = {"PatientBirthDate": "19610203", "PatientSex": "F", "StudyDate": "20200102", "AccessionNumber": "A7"}
    ds, _ = written(tmp_path / "seg.dcm", write_series(tmp_path / "ct", **elements))
    assert (ds.PatientName, ds.PatientID, ds.StudyInstanceUID) == ("Secret^Name", "SECRET-ID", "1.2")
    assert (ds.PatientBirthDate, ds.PatientSex, ds.AccessionNumber) == ("19610203", "F", "A7")
    assert ds.FrameOfReferenceUID == FRAME_OF_REFERENCE
    assert ds.SeriesInstanceUID != "1.2.3"
    assert ds.SOPInstanceUID != written(tmp_path / "again.dcm", tmp_path / "ct")[0].SOPInstanceUID


def test_names_beyond_ascii_are_written_whichever_letters_the_ct_has(tmp_path):
    source = write_series(tmp_path / "ct", SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    labels = (NamedLabel(id=1, name="肝臓", colour=(1, 2, 3)), *LABELS[1:])
    write_segmentation(tmp_path / "seg.dcm", painted(read_volume(source)), labels, ALGORITHM)
    ds = pydicom.dcmread(tmp_path / "seg.dcm")
    assert ds.SegmentSequence[0].SegmentLabel == "肝臓"
    assert ds.PatientName == "Müller^Jörg"
    (scheme,) = ds.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99FLAREKIT"


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (None, b"M\xfcller^J\xf6rg "),  # as if it had been declared
        ("ISO_IR 192", "Müller^Jör".encode()),
        (["", "ISO 2022 IR 87"], b"\x1b$B;3ED\x1b(B^B"),
        ("ISO-IR 100", b"M\xfcller^J\xf6rg "),  # of a hand that erred
        ("nonsense", b"M\xfcller^J\xf6rg "),
    ],
)
def test_the_patient_is_called_as_in_the_ct_to_the_byte(tmp_path, character_set, name):
    stand_in = b"A" * 12
    source = write_series(tmp_path / "ct", SpecificCharacterSet=character_set, PatientName=stand_in.decode())
    for file in source.iterdir():
        data = file.read_bytes()
        assert data.count(stand_in) == 1 and len(name) == 12
        file.write_bytes(data.replace(stand_in, name))
    written(tmp_path / "seg.dcm", source)
    assert (tmp_path / "seg.dcm").read_bytes().count(b"\x10\x00\x10\x00PN\x0c\x00" + name) == 1


def test_what_scanners_get_wrong_is_left_empty_and_said_to_nobody(tmp_path, caplog, recwarn, capfd):
    source = write_series(
        tmp_path / "ct",
        SpecificCharacterSet="",
        PatientName="Secret^Name^^^^^with^too^many^parts",
        PatientBirthDate="00000000",
        PatientSex="X",
        StudyTime="25:99",
        AccessionNumber="SECRET" * 5,
        StudyInstanceUID="1.02.3",
    )
    ds, _ = written(tmp_path / "seg.dcm", source)
    assert (ds.PatientBirthDate, ds.PatientSex, ds.StudyTime) == ("", "", "")
    assert (ds.AccessionNumber, ds.StudyInstanceUID) == ("SECRET" * 5, "1.02.3")
    said = caplog.text + "".join(str(warning.message) for warning in recwarn) + "".join(capfd.readouterr())
    assert "Secret" not in said and "SECRET" not in said


def test_the_logs_of_other_packages_are_as_loud_afterwards_as_before(tmp_path):
    logging.getLogger("highdicom").setLevel(logging.INFO)
    written(tmp_path / "seg.dcm", write_series(tmp_path / "ct"))
    assert logging.getLogger("highdicom").level == logging.INFO
    logging.getLogger("highdicom").setLevel(logging.NOTSET)


def test_where_nothing_was_found_the_lowest_slice_says_so(tmp_path):
    volume = read_volume(write_series(tmp_path / "ct"))
    nothing = volume.like(np.zeros(volume.array.shape, np.uint8))
    write_segmentation(tmp_path / "seg.dcm", nothing, LABELS, ALGORITHM)
    ds = pydicom.dcmread(tmp_path / "seg.dcm")
    assert ds.NumberOfFrames == len(ds.SegmentSequence) == 3
    assert not frames_of(ds).any()
    assert not read_labels(tmp_path / "seg.dcm", like=volume).array.any()


def test_one_slice_and_one_organ_are_enough(tmp_path):
    source = write_series(tmp_path / "ct", skip=(1, 2, 3))
    volume = read_volume(source)
    ids = volume.like(np.ones(volume.array.shape, np.uint8))
    write_segmentation(tmp_path / "seg.dcm", ids, LABELS[:1], ALGORITHM)
    back = read_labels(tmp_path / "seg.dcm", like=volume)
    np.testing.assert_array_equal(back.array, ids.array)
    np.testing.assert_allclose(read_labels(tmp_path / "seg.dcm").affine, volume.affine)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"FrameOfReferenceUID": None}, "does not say its frame of reference"),
        ({"FrameOfReferenceUID": lambda z: f"1.2.7{z % 2}"}, "mixes slices of 2 frame of reference UIDs"),
        ({"StudyInstanceUID": None}, "does not say its study"),
        ({"StudyInstanceUID": lambda z: f"1.{z}"}, "mixes slices of 4 study UIDs"),
        ({"SOPInstanceUID": "1.2.3.1"}, "slices without a UID of their own"),
    ],
)
def test_what_a_segmentation_cannot_refer_to_is_refused_before_the_work(tmp_path, elements, words):
    volume = read_volume(write_series(tmp_path / "ct", **elements))
    with pytest.raises(InputError, match=words):
        require_segmentable(volume)


def test_two_multi_frame_files_of_one_series_are_refused(tmp_path):
    for part, order in enumerate(((0, 1), (2, 3))):
        ds = make.enhanced_ct(order=order, SOPInstanceUID=f"1.2.9.{part}", FrameOfReferenceUID=FRAME_OF_REFERENCE)
        make.save(ds, tmp_path / "ct" / f"{part}.dcm")
    with pytest.raises(InputError, match="lies in 2 multi-frame files"):
        require_segmentable(read_volume(tmp_path / "ct"))


def test_a_ct_that_is_not_dicom_is_refused(tmp_path):
    volume = Volume.from_source(make.HU.transpose(2, 1, 0), np.eye(4), path=Path("ct.nii.gz"))
    with pytest.raises(InputError, match=r"ct\.nii\.gz: is not DICOM"):
        require_segmentable(volume)


def test_without_highdicom_the_way_to_it_is_named(tmp_path, monkeypatch):
    volume = painted(read_volume(write_series(tmp_path / "ct")))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r'pip install "flarekit\[dicom\]"'):
        write_segmentation(tmp_path / "seg.dcm", volume, LABELS, ALGORITHM)


def test_nothing_is_written_over_or_left_half_written(tmp_path, monkeypatch):
    from highdicom.seg import Segmentation

    source = write_series(tmp_path / "ct")
    written(tmp_path / "seg.dcm", source)
    before = (tmp_path / "seg.dcm").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        written(tmp_path / "seg.dcm", source)

    def full(self, path):
        Path(path).write_bytes(b"DICM")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Segmentation, "save_as", full)
    with pytest.raises(OutputError, match="no space left"):
        write_segmentation(tmp_path / "seg.dcm", painted(read_volume(source)), LABELS, ALGORITHM, overwrite=True)
    assert (tmp_path / "seg.dcm").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct", "seg.dcm"]


def test_what_cannot_be_encoded_is_refused_without_quoting_it(tmp_path, monkeypatch):
    from highdicom.seg import Segmentation

    def quoting(self, path):
        raise TypeError("cannot encode Secret^Name")

    monkeypatch.setattr(Segmentation, "save_as", quoting)
    with pytest.raises(InputError, match=r"cannot be repeated in a DICOM-SEG \(TypeError\)") as refused:
        written(tmp_path / "seg.dcm", write_series(tmp_path / "ct"))
    assert "Secret" not in str(refused.value)
    assert not (tmp_path / "seg.dcm").exists()


def test_a_header_that_pydicom_cannot_read_is_refused_before_the_work(tmp_path):
    source = write_series(tmp_path / "ct")
    for file in source.iterdir():
        data = file.read_bytes()
        described = data.index(b"\x28\x00\x03\x01US")
        file.write_bytes(data[: described + 4] + b"UL" + data[described + 6 :])  # of two bytes
    with pytest.raises(InputError, match="has a header that cannot be repeated"):
        require_segmentable(read_volume(source))


def test_ids_count_from_one(tmp_path):
    volume = painted(read_volume(write_series(tmp_path / "ct")))
    with pytest.raises(ValueError, match=r"numbered 1, 2, \.\.\. in their order, got \[2, 3\]"):
        write_segmentation(tmp_path / "seg.dcm", volume, LABELS[1:], ALGORITHM)


def test_a_ct_of_dcmqi_gets_a_segmentation_on_its_grid(tmp_path, shared_data):
    volume = read_volume(shared_data / "dcmqi_ct3slice")
    liver = read_labels(shared_data / "dcmqi_ct3slice" / "liver.dcm", like=volume)
    ids = volume.like((liver.array > 0).astype(np.uint8))
    write_segmentation(tmp_path / "seg.dcm", ids, LABELS[:1], ALGORITHM)
    theirs, ours = pydicom.dcmread(shared_data / "dcmqi_ct3slice" / "liver.dcm"), pydicom.dcmread(tmp_path / "seg.dcm")
    assert ours.StudyInstanceUID == theirs.StudyInstanceUID
    assert ours.FrameOfReferenceUID == theirs.FrameOfReferenceUID
    assert ours.ReferencedSeriesSequence[0].SeriesInstanceUID == theirs.ReferencedSeriesSequence[0].SeriesInstanceUID
    np.testing.assert_array_equal(read_labels(tmp_path / "seg.dcm", like=volume).array, ids.array)
