"""`flarekit check` names what is wrong with a data set, and --fix mends copies of what can be mended."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from flarekit.check import ERROR, NOTE, WARNING, check_dataset
from flarekit.config.phantom import RECIPES
from flarekit.data.layouts import find_cases
from flarekit.errors import InputError
from flarekit.labels import FLARE22
from flarekit.phantom import canonical_volume, paint, synthetic_anatomy
from flarekit.volumes import Volume, read_labels, read_volume, require_same_grid, write_volume

SPACING_MM = (8.0, 3.2, 3.4)
PAIRS = [list(pair) for pair in FLARE22.pairs]
AFFINE = canonical_volume(np.zeros((36, 100, 110), dtype=np.uint8), SPACING_MM).source.affine


@cache
def anatomy() -> np.ndarray:
    return synthetic_anatomy(0, SPACING_MM, (36, 100, 110))


@cache
def painting(patient: int = 0) -> np.ndarray:
    """A CT; every patient's is a little different."""
    return paint(anatomy(), SPACING_MM, RECIPES["plain"], 0) if patient == 0 else painting() + np.int16(patient)


def mr_like(hu: np.ndarray) -> np.ndarray:
    """A T1-like contrast of the same patient, stretched over a CT's range: fat is bright, bone and air are dark."""
    signal = np.interp(hu, [-400, -150, -50, 0, 60, 150, 400], [0, 900, 800, 150, 350, 600, 50])
    return (signal / signal.max() * 4000 - 1000).astype(np.int16)


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """A canonical array (Z, H, W) as a NIfTI file in its own type, with more axes where it has more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    turned = array.transpose(2, 1, 0, *range(3, array.ndim))
    nibabel.Nifti1Image(turned, affine, dtype=array.dtype).to_filename(path)
    return path


class Data:
    """A data set in FLARE22's layout, of which each test breaks one thing."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def case(self, name: str = "a", *, image: np.ndarray | None = None, label: np.ndarray | None = None, **how) -> Data:
        write(self.image(name), painting() if image is None else image)
        write(self.label(name), anatomy() if label is None else label, **how)
        return self

    def image(self, name: str = "a") -> Path:
        return self.root / "images" / f"{name}_0000.nii.gz"

    def label(self, name: str = "a") -> Path:
        return self.root / "labels" / f"{name}.nii.gz"

    def describe(self, **entries: object) -> Data:
        names = read_names()
        (self.root / "dataset.json").write_text(json.dumps({"labels": names, **entries}))
        return self

    def found(self, **how) -> list[tuple[str, str, str]]:
        """(severity, code, file) of every finding about a case, notes on missing organs left out."""
        report = check_dataset([self.root], **how)
        findings = [finding for case in report.cases for finding in case.findings]
        return [(f.severity, f.code, f.file) for f in findings if f.code != "missing-organs"]


def read_names() -> dict[str, int]:
    return {"background": 0, **dict(zip(FLARE22.names, FLARE22.ids, strict=True))}


@pytest.fixture
def data(tmp_path) -> Data:
    return Data(tmp_path / "data")


def test_a_sound_data_set_has_one_row_a_case_and_no_finding(data):
    data.case("a").case("b", image=painting(1), label=np.roll(anatomy(), 1, axis=2))
    report = check_dataset([data.root])
    assert data.found() == [] and report.findings == ()
    assert [case.name for case in report.cases] == ["a", "b"]
    (case, _), (image, label) = report.cases, (report.cases[0].image, report.cases[0].label)
    assert (image.name, image.shape, image.axes, image.dtype) == ("a_0000.nii.gz", (110, 100, 36), "LPS", "int16")
    assert image.spacing_mm == pytest.approx((3.4, 3.2, 8.0), abs=1e-5)
    assert (image.values.low, image.values.high) == (painting().min(), painting().max())
    assert (label.dtype, label.values.broken) == ("uint8", 0)
    assert case.voxels == {i: int((anatomy() == i).sum()) for i in range(1, 14) if (anatomy() == i).any()}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (lambda hu: hu + 1024, (WARNING, "offset")),
        (lambda hu: (np.maximum(hu, -1024) + 1024).astype(np.uint16), (WARNING, "offset")),
        (lambda hu: ((np.clip(hu, -150, 250) + 150) * 255.0 / 400).astype(np.uint8), (ERROR, "8-bit")),
        (lambda hu: ((np.clip(hu, -150, 250) + 150) / 400).astype(np.float32), (ERROR, "scaled")),
        (lambda hu: (hu / 400).astype(np.float32), (ERROR, "normalised")),
        (lambda hu: np.full_like(hu, 7), (ERROR, "constant")),
        (lambda hu: hu.astype(np.int64) - 2**40, (ERROR, "constant")),
        (lambda hu: hu * 1e300, (WARNING, "huge")),
        (lambda hu: np.full(hu.shape, np.nan, dtype=np.float32), (ERROR, "nan")),
        (lambda hu: np.ones(hu.shape, dtype=np.complex64), (ERROR, "unreadable")),
        (lambda hu: np.zeros(hu.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]), (ERROR, "unreadable")),
        (lambda hu: np.where(hu > 200, np.nan, hu).astype(np.float32), (ERROR, "nan")),
        (lambda hu: np.where(hu > 200, np.inf, hu).astype(np.float64), (ERROR, "nan")),
        (lambda hu: np.abs(hu.astype(np.int32) * 3) + 1, (WARNING, "all-positive")),
        (lambda hu: np.clip(hu, -60, 30), (WARNING, "narrow")),
        (lambda hu: hu + 1000, (WARNING, "all-positive")),
        (lambda hu: np.clip(hu, -160, 240), (WARNING, "clipped")),
        (lambda hu: mr_like(hu), (ERROR, "no-soft-tissue")),
        (lambda hu: np.clip(hu, -1024, 240), (WARNING, "clipped")),
        (lambda hu: np.clip(hu, -500, 3071), (WARNING, "clipped")),
        (lambda hu: hu.astype(np.int16).view(np.uint16), (WARNING, "all-positive")),
        (lambda hu: np.where(hu < -900, -3024, hu).astype(np.int16), (NOTE, "padding")),
        (lambda hu: anatomy(), (ERROR, "label-map")),
    ],
)
def test_values_that_are_not_hu_are_named(data, values, expected):
    data.case(image=values(painting()))
    assert data.found()[0] == (*expected, "image")


def test_unsigned_negative_numbers_are_named(data):
    data.case(image=painting().view(np.uint16))
    assert (WARNING, "huge", "image") in data.found()


def test_an_offset_that_is_not_plain_is_doubted_behind_a_padding_value_too(data):
    lung = np.where(painting() > -200, -300, painting()).astype(np.int16)
    data.case(image=np.where(lung < -1000, -2000, lung + 1024).astype(np.int16))
    assert data.found()[0] == (WARNING, "all-positive", "image")


def test_the_offset_is_named_with_its_remedy(data):
    (finding,) = check_dataset([data.case(image=painting() + 1024).root]).cases[0].findings
    assert "HU + 1024" in finding.text and "--hu-offset auto" in finding.text


@pytest.mark.parametrize("name", ["C3L-00189_ct.nii.gz"])
def test_a_real_ct_is_plausible(shared_data, name):
    (case,) = check_dataset([shared_data / "cptac_pda" / name]).cases
    assert [finding.code for finding in case.findings] == ["padding"]


def test_the_real_label_maps_are_sound(shared_data, tmp_path):
    for number in (1, 2):
        name = f"FLARE22_Tr_{number:04}.nii.gz"
        shutil.copy(shared_data / "flare22_labels" / name, tmp_path / name)
    report = check_dataset([], labels=tmp_path, workers=0)
    assert [(case.name, len(case.voxels), case.findings) for case in report.cases] == [
        ("FLARE22_Tr_0001", 13, ()),
        ("FLARE22_Tr_0002", 13, ()),
    ]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (lambda ids: ids.astype(np.float32), (NOTE, "float-ids")),
        (lambda ids: ids + np.float32(0.5), (ERROR, "not-ids")),
        (lambda ids: ids + np.float32(0.02) * (ids > 0), (ERROR, "rounding")),
        (lambda ids: np.where(ids == 13, 500, ids.astype(np.int16)), (ERROR, "unknown-ids")),
        (lambda ids: ids.astype(np.int16) - 1, (ERROR, "unknown-ids")),
        (lambda ids: np.zeros_like(ids), (WARNING, "empty")),
        (lambda ids: ids[1:], (ERROR, "geometry")),
        (lambda ids: ids[..., None], (NOTE, "trailing-axis")),
        (lambda ids: np.stack([ids, ids], axis=-1), (ERROR, "unreadable")),
    ],
)
def test_label_maps_that_do_not_fit_are_named(data, label, expected):
    data.case(label=label(anatomy()))
    assert data.found() == [(*expected, "label")]


def test_a_label_map_scaled_to_fit_its_type_is_rounded_by_fix(data, tmp_path, run_cli):
    data.case(label=anatomy().astype(np.float64))
    image = nibabel.load(data.label())
    image.set_data_dtype(np.int16)  # nibabel then finds a slope that uses all of int16
    nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header).to_filename(data.label())
    assert not np.array_equal(nibabel.load(data.label()).get_fdata(), np.rint(nibabel.load(data.label()).get_fdata()))
    assert data.found() == [(ERROR, "rounding", "label")]
    assert run_cli("check", data.root, "--fix", tmp_path / "out").code == 0
    assert np.array_equal(read_labels(Data(tmp_path / "out").label()).array, anatomy())


def test_a_label_map_that_is_not_ids_hides_no_organ_and_is_not_told_to_become_air(data):
    label = anatomy().astype(np.float32)
    label[0, 0, 0] = np.nan
    report = check_dataset([data.case(label=label).root])
    assert report.findings == ()
    (finding,) = report.cases[0].findings
    assert finding.code == "not-ids" and "background" in finding.text


def test_the_ignore_label_in_a_label_map_of_some_organs_is_an_error(data):
    labels = {"background": 0, "liver": 1, "spleen": 3, "ignore": 9}
    label = np.where(np.isin(anatomy(), (1, 9)), anatomy(), 0)
    data.case(label=label).describe(labels=labels, labelled_organs=["liver"])
    assert data.found() == [(ERROR, "ignored-in-part", "label")]


def test_ids_need_not_be_consecutive_where_dataset_json_names_them(data):
    ids = np.where(anatomy() == 1, 300, np.where(anatomy() == 3, 7, 0)).astype(np.uint16)
    data.case(label=ids).describe(labels={"background": 0, "liver": 300, "spleen": 7, "ignore": 9})
    assert data.found() == [] and check_dataset([data.root]).findings == ()
    data.case(label=np.where(anatomy() == 13, 9, ids).astype(np.uint16))
    assert data.found() == []


def test_left_and_right_without_pairs_are_named(data):
    (finding,) = check_dataset([data.case().describe().root]).findings
    assert (finding.severity, finding.code) == (WARNING, "pairs")
    assert '["left_kidney", "right_kidney"]' in finding.text
    pairs = [["right_kidney", "left_kidney"], ["left_adrenal_gland", "right_adrenal_gland"]]
    assert check_dataset([data.describe(pairs=pairs).root]).findings == ()


def test_missing_organs_are_notes_and_organs_never_seen_a_warning(data):
    data.case("a", label=np.where(anatomy() == 9, 0, anatomy()).astype(np.uint8)).case("b", image=painting(1))
    data.case("c", image=painting(2), label=np.where(anatomy() == 1, 1, 0).astype(np.uint8))
    report = check_dataset([data.root])
    notes = {case.name: [f.text for f in case.findings if f.code == "missing-organs"] for case in report.cases}
    assert notes["a"] == ["holds no gallbladder."] and notes["b"] == [] and "spleen" in notes["c"][0]
    assert report.findings == ()
    for patient, name in enumerate("ab", start=3):
        data.case(name, image=painting(patient), label=np.where(anatomy() == 9, 0, anatomy()).astype(np.uint8))
    (finding,) = check_dataset([data.root]).findings
    assert (finding.severity, finding.code) == (WARNING, "organs-never-seen") and "gallbladder" in finding.text


def test_an_organ_that_nobody_is_said_to_have_labelled_is_not_missed(data):
    liver = np.where(anatomy() == 1, 1, 0).astype(np.uint8)
    data.case(label=liver).describe(labelled_organs=["liver"], pairs=PAIRS)
    assert check_dataset([data.root]).findings == ()


def test_organs_that_are_not_said_to_be_labelled_are_named(data):
    data.case().describe(labelled_organs=["liver"])
    assert data.found() == [(WARNING, "unlabelled-organs", "label")]


def test_a_mirror_that_no_header_tells_of_is_seen_where_left_and_right_are_exchanged(data):
    mirrored = anatomy()[..., ::-1]
    data.case("a").case("b", image=painting(1)[..., ::-1], label=mirrored)
    assert data.found() == [(WARNING, "sides", "label")]
    one_kidney = np.where(mirrored == 13, 0, np.where(np.isin(mirrored, (7, 8)), 0, mirrored))
    data.case("b", image=painting(1)[..., ::-1], label=one_kidney)
    assert data.found() == []


@pytest.mark.parametrize("voxels", [0.4, 3.0])
def test_a_label_map_beside_its_image_is_an_error(data, voxels):
    shift = np.eye(4)
    shift[0, 3] = 3.2 * voxels
    data.case(affine=shift @ AFFINE)
    (finding,) = check_dataset([data.root]).cases[0].findings
    assert (finding.severity, finding.code) == (ERROR, "geometry") and f"{3.2 * voxels:.3g} mm apart" in finding.text
    assert bool(finding.repair) == (voxels < 1)


def test_images_and_label_maps_without_each_other(data):
    data.case("a").case("b", image=painting(1)).case("c", image=painting(2))
    data.label("b").unlink()
    data.image("c").unlink()
    assert data.found() == [
        (WARNING, "duplicate", "label"), (WARNING, "no-label", "image"),
        (ERROR, "no-image", "label"), (WARNING, "duplicate", "label"),
    ]  # fmt: skip
    shutil.rmtree(data.root / "labels")
    assert data.found() == []


def test_duplicates_are_found_by_their_voxels(data, tmp_path):
    data.case("a").case("b", image=painting(1), label=np.roll(anatomy(), 1, axis=2))
    write(data.root / "images" / "c_0000.nii", painting().astype(np.int32))
    write(data.root / "images" / "d_0000.nii", painting().reshape(72, 50, 110))
    report = check_dataset([data.root])
    found = {case.name: [f.text for f in case.findings if f.code == "duplicate"] for case in report.cases}
    assert (
        "the same voxels as c" in found["a"][0]
        and "the same voxels as a" in found["c"][0]
        and found["b"] == found["d"] == []
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("labels/a.nrrd", (ERROR, "two-labels", "label")),
        ("images/_0000.nii.gz", (ERROR, "no-name", "")),
        ("images/a_0001.nii.gz", (WARNING, "channel", "image")),
    ],
)
def test_what_preprocess_would_refuse_or_mistake_is_named(data, tmp_path, name, expected):
    SimpleITK.WriteImage(SimpleITK.ReadImage(data.case().image()), data.root / name)
    assert expected in data.found()


def test_images_in_folders_and_labelled_cases_that_are_not_there_are_named(data):
    data.case().describe(labelled_organs={"b": ["liver"]}, pairs=PAIRS)
    write(data.root / "images" / "b" / "ct.nii.gz", painting())
    assert [finding.code for finding in check_dataset([data.root]).findings] == ["folders", "labelled-nowhere"]


def test_label_maps_from_elsewhere_are_paired_as_preprocess_does(data, tmp_path):
    data.case("a").case("b", image=painting(1), label=np.roll(anatomy(), 1, axis=2))
    write(tmp_path / "masks" / "a.nii.gz", np.roll(anatomy(), 2, axis=2))
    assert data.found(labels=tmp_path / "masks") == [(WARNING, "no-label", "image")]
    with pytest.raises(InputError, match="one label map, and there are 2 cases"):
        data.found(labels=tmp_path / "masks" / "a.nii.gz")
    (tmp_path / "masks" / "a.nii.gz").rename(tmp_path / "masks" / "c.nii.gz")
    with pytest.raises(InputError, match="holds no label map of these cases"):
        data.found(labels=tmp_path / "masks")


@pytest.mark.parametrize("folder", ["labels", "labels/a.nii.gz"])
def test_label_maps_alone_are_named_by_their_own_dataset_json(data, folder):
    data.case(label=np.where(anatomy() == 1, 300, 0).astype(np.uint16)).describe(labels={"background": 0, "liver": 300})
    report = check_dataset([], labels=data.root / folder)
    assert report.findings == () and report.cases[0].findings == ()
    (data.root / "dataset.json").rename(data.root / "labels" / "dataset.json")
    assert check_dataset([], labels=data.root / folder).cases[0].findings == ()


def test_a_dataset_json_may_begin_with_a_byte_order_mark(data):
    description = (
        data.case().describe(pairs=PAIRS, renumber={}, labelled_organs=list(FLARE22.names)).root / "dataset.json"
    )
    description.write_text(description.read_text(), encoding="utf-8-sig")
    assert check_dataset([data.root]).findings == ()
    assert find_cases(data.root).labels.same_organs(FLARE22)


def test_cases_of_one_name_are_errors(data, tmp_path):
    data.case()
    shutil.copytree(data.root, tmp_path / "again")
    report = check_dataset([data.root, tmp_path / "again"])
    assert [case.findings[0].code for case in report.cases] == ["same-name", "same-name"]


@pytest.mark.parametrize(
    ("affine", "code"),
    [
        (np.diag([-3.4, -3.2, 12.0, 1.0]), "thick"),
        (np.diag([-0.034, -0.032, 0.08, 1.0]), "spacing"),
        (np.eye(4), "no-geometry"),
    ],
)
def test_odd_grids_are_named(tmp_path, affine, code):
    path = write(tmp_path / "a.nii.gz", painting(), affine)
    (case,) = check_dataset([path]).cases
    assert (WARNING, code) in [(finding.severity, finding.code) for finding in case.findings]


def test_a_sheared_grid_and_a_tiny_one(tmp_path):
    sheared = AFFINE.copy()
    sheared[1, 2] = 2.0
    write(tmp_path / "sheared.nii.gz", painting(), sheared)
    write(tmp_path / "tiny.nii.gz", painting()[:3])
    codes = {case.name: [finding.code for finding in case.findings] for case in check_dataset([tmp_path]).cases}
    assert codes["sheared"] == ["sheared"] and codes["tiny"] == ["tiny"]


def test_what_the_readers_warn_of_is_in_the_row_and_printed_once(tmp_path, run_cli):
    image = nibabel.Nifti1Image(painting().transpose(2, 1, 0), AFFINE)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    image.to_filename(tmp_path / "a.nii.gz")
    (case,) = check_dataset([tmp_path / "a.nii.gz"]).cases
    warnings = [finding.text for finding in case.findings if finding.code == "reader"]
    assert len(warnings) == 1 and warnings[0].startswith("says no orientation")
    outcome = run_cli("check", tmp_path / "a.nii.gz")
    assert outcome.stdout.count("says no orientation") == 1 and outcome.stderr == ""


def test_a_sform_that_disagrees_with_the_qform_is_in_the_row(tmp_path):
    image = nibabel.Nifti1Image(painting().transpose(2, 1, 0), AFFINE)
    moved = AFFINE.copy()
    moved[0, 3] += 7.0
    image.set_qform(moved, code=1)
    image.to_filename(tmp_path / "a.nii.gz")
    (finding,) = check_dataset([tmp_path / "a.nii.gz"]).cases[0].findings
    assert finding.code == "reader" and "sform and qform differ by up to 7 mm" in finding.text


def test_one_bad_file_does_not_stop_the_rest(data):
    data.case("a").case("b", image=painting(1), label=np.roll(anatomy(), 1, axis=2))
    data.image("a").write_bytes(data.image("a").read_bytes()[:5000])
    assert data.found() == [(ERROR, "unreadable", "image")]


def test_a_broken_dataset_json_is_an_error_and_the_files_are_checked_all_the_same(data):
    data.case(image=painting() + 1024)
    (data.root / "dataset.json").write_text('{"labels": 3}')
    report = check_dataset([data.root])
    (finding,) = report.findings
    assert finding.code == "dataset-json" and str(data.root) not in finding.text
    assert [finding.code for finding in report.cases[0].findings] == ["offset"]


def test_processes_find_the_same(data):
    data.case("a", image=painting() + 1024).case("b", image=painting(1))
    assert check_dataset([data.root], workers=2) == check_dataset([data.root])


def test_a_folder_of_dicom_is_a_row(shared_data):
    (case,) = check_dataset([shared_data / "totalsegmentator" / "example_ct_dicom"]).cases
    assert case.image.shape == (512, 512, 20) and case.findings == ()


def test_a_dicom_segmentation_is_a_label_map_on_its_image(shared_data, tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 1}}))
    (tmp_path / "scan").mkdir()
    for file in ("01.dcm", "02.dcm", "03.dcm"):
        shutil.copy(shared_data / "dcmqi_ct3slice" / file, tmp_path / "scan" / file)
    label = shared_data / "dcmqi_ct3slice" / "liver.dcm"
    (case,) = check_dataset([tmp_path / "scan"], labels=label, dataset_json=tmp_path / "dataset.json").cases
    assert case.image.shape == (512, 512, 3) and list(case.voxels) == [1]
    assert not [finding for finding in case.findings if finding.severity == ERROR]


def test_inputs_that_are_missing_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        check_dataset([tmp_path / "none"])
    with pytest.raises(InputError, match="does not exist"):
        check_dataset([], labels=tmp_path / "none")
    (tmp_path / "data" / "images").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no volume"):
        check_dataset([tmp_path / "data"])


# The command.


def test_the_command_prints_a_table_and_ends_with_3_on_errors(data, run_cli):
    data.case("a").case("b", image=painting(1), label=np.roll(anatomy(), 1, axis=2))
    outcome = run_cli("check", data.root)
    assert outcome.code == 0 and "110 x 100 x 36" in outcome.stdout and outcome.stderr == ""
    data.case("a", label=anatomy()[1:])
    outcome = run_cli("check", data.root)
    assert outcome.code == 3 and "geometry" in outcome.stdout
    assert "1 of 2 cases have errors: a" in outcome.stderr


def test_json_is_one_object_with_every_finding(data, run_cli):
    data.case(image=np.where(painting() > 200, np.nan, painting()).astype(np.float32))
    outcome = run_cli("check", data.root, "--json")
    report = json.loads(outcome.stdout)
    (case,) = report["cases"]
    assert outcome.code == 3 and report["counts"][ERROR] == 1
    assert case["image"]["shape"] == [110, 100, 36] and case["image"]["range"][1] <= 200
    assert case["label"]["voxels"]["1"] == int((anatomy() == 1).sum())
    assert {key: value for key, value in case["findings"][0].items() if key != "text"} == {
        "severity": "error", "code": "nan", "file": "image", "repair": "NaN and infinite voxels set to -1024"
    }  # fmt: skip
    assert str(data.root) not in outcome.stdout


def test_nothing_to_check_is_a_usage_error(run_cli):
    assert run_cli("check").code == 2


def test_checking_imports_no_torch(data):
    data.case()
    script = (
        "import sys\n"
        "from flarekit.cli import main\n"
        f"code = main(['check', {str(data.root)!r}])\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else code)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# --fix.


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_fix_writes_a_mended_copy_and_leaves_the_originals(data, tmp_path, run_cli):
    shift = np.eye(4)
    shift[0, 3] = 1.0
    nan = np.where(painting(1) > 200, np.nan, painting(1)).astype(np.float32)
    data.case("geometry", affine=shift @ AFFINE)
    data.case("nan", image=nan, label=np.roll(anatomy(), 1, axis=2).astype(np.float64))
    data.case("offset", image=painting(2) + 1024, label=np.roll(anatomy(), 2, axis=2)[..., None])
    data.case("sound", image=painting(3), label=np.roll(anatomy(), 3, axis=2))
    data.case("wrong", image=painting(4), label=anatomy()[1:]).describe()
    before, out = snapshot(data.root), tmp_path / "out"
    outcome = run_cli("check", data.root, "--fix", out, "--json")
    fix = json.loads(outcome.stdout)["fix"]
    assert snapshot(data.root) == before
    assert outcome.code == 3 and fix["left_out"] == ["wrong"] and fix["copied"] == 1
    assert [(repair["case"], repair["file"], len(repair["done"])) for repair in fix["repaired"]] == [
        ("geometry", "label", 1), ("nan", "image", 1), ("nan", "label", 1),
        ("offset", "image", 1), ("offset", "label", 1),
    ]  # fmt: skip
    mended = Data(out)
    assert mended.found() == [] and not mended.image("wrong").exists()
    assert read_volume(mended.image("offset")).array.tolist() == painting(2).tolist()
    image = read_volume(mended.image("nan")).array
    assert np.array_equal(image, np.where(painting(1) > 200, -1024, painting(1)))
    assert nibabel.load(mended.label("nan")).get_data_dtype() == np.uint8
    assert nibabel.load(mended.label("offset")).shape == (110, 100, 36)
    require_same_grid(read_volume(mended.image("geometry")), read_labels(mended.label("geometry")))
    assert np.array_equal(read_labels(mended.label("geometry")).array, anatomy())
    assert mended.image("sound").read_bytes() == data.image("sound").read_bytes()
    assert (out / "dataset.json").read_bytes() == (data.root / "dataset.json").read_bytes()


def test_what_was_no_number_is_air_behind_an_offset_too(data, tmp_path, run_cli):
    data.case(image=np.where(painting() > 200, np.nan, painting() + 1024).astype(np.float32))
    assert [code for _, code, _ in data.found()] == ["nan", "offset"]
    assert run_cli("check", data.root, "--fix", tmp_path / "out").code == 0
    mended = read_volume(Data(tmp_path / "out").image()).array
    assert np.array_equal(mended, np.where(painting() > 200, -1024, painting()))


def test_ids_are_renumbered_only_where_dataset_json_says_so(data, tmp_path, run_cli):
    label = anatomy().astype(np.int16)
    label[anatomy() == 13], label[anatomy() == 2] = 500, 600
    data.case(label=label).describe()
    assert run_cli("check", data.root, "--fix", tmp_path / "one", "--json").code == 3
    assert not (tmp_path / "one" / "labels").exists()
    data.describe(renumber={"500": 13, "600": 2})
    assert run_cli("check", data.root, "--fix", tmp_path / "two").code == 0
    assert np.array_equal(read_labels(tmp_path / "two" / "labels" / "a.nii.gz").array, anatomy())
    data.describe(renumber={"1": 13})
    assert [finding.code for finding in check_dataset([data.root]).findings] == ["dataset-json"]
    assert "the data set: dataset-json" in run_cli("check", data.root).stderr


def test_fix_replaces_nothing(data, tmp_path, run_cli):
    data.case()
    outcome = run_cli("check", data.root, "--fix", data.root)
    assert outcome.code == 4 and "new folder" in outcome.stderr


def test_fix_writes_nothing_into_the_data_set(data, run_cli):
    data.case()
    for folder in (data.root / "mended", data.root / "images" / "mended"):
        outcome = run_cli("check", data.root, "--fix", folder)
        assert outcome.code == 4 and "lies in the data set" in outcome.stderr and not folder.exists()
    (data.root / "mended").mkdir()
    assert run_cli("check", data.image(), "--fix", data.root / "mended").code == 0, (
        "a file has no folder to keep out of"
    )


def test_fix_shows_nothing_on_a_full_disk(data, tmp_path, full_disk, run_cli):
    data.case("a").case("b", image=painting(1) + 1024)
    with full_disk(10_000):
        outcome = run_cli("check", data.root, "--fix", tmp_path / "out")
    assert outcome.code == 4 and "no space left" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert run_cli("check", data.root, "--fix", tmp_path / "out").code == 0


def test_fix_does_not_mix_data_sets_of_one_name(tmp_path, run_cli):
    for folder in ("one", "two"):
        Data(tmp_path / folder / "data").case(folder).describe()
    outcome = run_cli("check", tmp_path / "one" / "data", tmp_path / "two" / "data", "--fix", tmp_path / "out")
    assert outcome.code == 4 and "one by one" in outcome.stderr and not (tmp_path / "out").exists()


def test_fix_copies_a_header_with_its_voxels(data, tmp_path, run_cli):
    data.case()
    SimpleITK.WriteImage(SimpleITK.ReadImage(data.image()), data.root / "images" / "a_0000.mhd")
    data.image().unlink()
    assert run_cli("check", data.root, "--fix", tmp_path / "out").code == 0
    assert np.array_equal(read_volume(tmp_path / "out" / "images" / "a_0000.mhd").array, painting())


def test_fix_keeps_several_data_sets_apart(tmp_path, run_cli):
    one, two = (Data(tmp_path / "all" / name) for name in ("one", "two"))
    one.case("a", image=painting() + 1024).describe()
    two.case("b", image=painting(1), label=np.roll(anatomy(), 1, axis=2)).describe()
    assert run_cli("check", tmp_path / "all", "--fix", tmp_path / "out").code == 0
    assert np.array_equal(read_volume(Data(tmp_path / "out" / "one").image("a")).array, painting())
    for name in ("one", "two"):
        copied, original = (folder / name / "dataset.json" for folder in (tmp_path / "out", tmp_path / "all"))
        assert copied.read_bytes() == original.read_bytes()


def test_label_maps_from_elsewhere_cover_what_dataset_json_says(data, tmp_path):
    liver = np.where(anatomy() == 1, 1, 0).astype(np.uint8)
    write(tmp_path / "masks" / "a.nii.gz", liver)
    write(tmp_path / "scans" / "a.nii.gz", painting())
    data.case().describe(labelled_organs={"a": ["liver"]})
    report = check_dataset([tmp_path / "scans"], labels=tmp_path / "masks", dataset_json=data.root / "dataset.json")
    assert report.cases[0].findings == ()
    (case,) = check_dataset([], labels=tmp_path / "masks", dataset_json=data.root / "dataset.json").cases
    assert case.findings == ()


def test_fix_keeps_other_formats_and_places(tmp_path, run_cli):
    volume = Volume.from_source((painting() + 1024).transpose(2, 1, 0), AFFINE)
    (tmp_path / "scans").mkdir()
    write_volume(tmp_path / "scans" / "a.nrrd", volume)
    write(tmp_path / "masks" / "a.nii.gz", anatomy())
    arguments = ("check", tmp_path / "scans", "--labels", tmp_path / "masks")
    assert run_cli(*arguments, "--fix", tmp_path / "out").code == 0
    assert np.array_equal(read_volume(tmp_path / "out" / "a.nrrd").array, painting())
    assert np.array_equal(read_labels(tmp_path / "out" / "masks" / "a.nii.gz").array, anatomy())
