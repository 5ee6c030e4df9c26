"""What `flarekit segment` writes beside the mask, and into it."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from propagation_doubles import Matcher
from segmentation_doubles import SHAPE, Reader, loaded, painted_classes, painted_ct, painted_volume, publish_tiny

from flarekit.config.propagation import PropagationConfig
from flarekit.config.reference import SamplingConfig, SecondPassConfig
from flarekit.config.segment import SegmentConfig
from flarekit.errors import OutputError
from flarekit.pipeline import segment
from flarekit.pipeline.maps import ProbabilityMaps, UncertaintyMap
from flarekit.pipeline.outputs import UNFINISHED
from flarekit.reference import ReferenceModule
from flarekit.volumes import read_labels, write_volume


@pytest.fixture
def case(tmp_path):
    publish_tiny("ref")
    publish_tiny("prop", kind="propagation")
    write_volume(tmp_path / "patient.nii.gz", painted_ct())
    return tmp_path / "patient.nii.gz"


@pytest.fixture
def run(case, run_cli):
    def run(*options: object):
        models = ("--model", "ref", "--propagation-model", "prop", "--device", "cpu")
        return run_cli("segment", "-i", case, *models, *options)

    return run


class Watcher:
    """Keeps the probabilities of every slice."""

    def __init__(self) -> None:
        self.seen: dict[int, np.ndarray] = {}

    def add(self, z, probabilities) -> None:
        self.seen[z] = probabilities.clone().numpy()


@pytest.mark.parametrize("propagated", [False, True])
def test_every_slice_shows_the_probabilities_its_mask_was_decided_by(propagated):
    carrier = loaded(Matcher(), kind="propagation", name="carrier") if propagated else None
    config = SegmentConfig(
        sampling=SamplingConfig(every=4),
        second_pass=SecondPassConfig(max_slices=0),
        propagation=PropagationConfig(top_k=1),
    )
    watcher = Watcher()
    result = segment(painted_volume(), ReferenceModule(loaded(Reader())), carrier, config, sinks=[watcher])
    assert sorted(watcher.seen) == list(range(SHAPE[0]))
    for z, planes in watcher.seen.items():
        assert planes.shape == (3, *SHAPE[1:]) and np.allclose(planes.sum(axis=0), 1, atol=1e-4)
        assert np.array_equal(planes.argmax(axis=0), result.classes[z])


def test_a_slice_nobody_looked_at_is_wholly_uncertain():
    blind = ReferenceModule(loaded(Reader(blind=(1, 2))))
    uncertainty = UncertaintyMap(SHAPE)
    carrier = loaded(Matcher(), kind="propagation", name="carrier")
    config = SegmentConfig(sampling=SamplingConfig(every=4), second_pass=SecondPassConfig(max_slices=0))
    looked = segment(painted_volume(), blind, carrier, config, sinks=[uncertainty]).sampled
    unseen = sorted(set(range(SHAPE[0])) - set(looked))
    assert unseen and (uncertainty.steps[unseen] == 255).all() and not uncertainty.steps[list(looked)].all()


def test_probability_maps_keep_a_byte_a_voxel_on_the_disk(tmp_path):
    maps = ProbabilityMaps((2, 3, 4), [1, 5], tmp_path)
    planes = np.zeros((6, 3, 4), dtype=np.float32)
    planes[5, 1, 2], planes[1, 0, 0] = 0.2, 1.0
    maps.add(1, torch.from_numpy(planes))
    assert maps.steps(5)[1, 1, 2] == 51 and maps.steps(5).sum() == 51
    assert maps.steps(1)[1, 0, 0] == 255 and list(tmp_path.iterdir()) == []
    maps.close()


def test_everything_at_once_lies_beside_the_mask_on_its_grid(run, case):
    wishes = ("--uncertainty", "--save-probabilities", "--statistics", "--preview", "--json")
    outcome = run("-o", case.with_name("mask.seg.nrrd"), *wishes)
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert sorted(report["outputs"]) == sorted(
        path.relative_to(case.parent).as_posix()
        for path in case.parent.rglob("*")
        if path.is_file() and path.name not in ("patient.nii.gz", "mask.seg.json")
    )
    uncertainty = nib.load(case.with_name("mask.seg_uncertainty.nii.gz"))
    assert uncertainty.shape == nib.load(case).shape and uncertainty.get_fdata().min() >= 0
    assert uncertainty.get_fdata().max() < 1.0001
    chances = [nib.load(file).get_fdata() for file in case.parent.glob("mask.seg_probabilities/*.nii.gz")]
    assert len(chances) == 2 and (sum(chances) <= 1 + 2 / 255).all()
    rows = list(csv.DictReader(case.with_name("mask.seg_statistics.csv").open()))
    assert [row["organ"] for row in rows] == ["block", "pea"]
    measured = report["organs"][0]["statistics"]
    assert rows[0]["mean_hu"] == ("" if measured["mean_hu"] is None else str(measured["mean_hu"]))


def test_split_writes_one_file_an_organ_into_a_folder(run, case):
    folder = case.with_name("organs")
    assert run("-o", case.with_name("mask.nii.gz"), "--no-colours").code == 0
    outcome = run("-o", folder, "--split", "--statistics")
    assert outcome.code == 0, outcome.stderr
    listed = "In it: block.nii.gz, pea.nii.gz, statistics.csv, segmentation.json."
    assert f"Wrote {folder}. {listed}\n" in outcome.stdout
    whole = read_labels(case.with_name("mask.nii.gz")).array
    assert {file.name for file in folder.iterdir()} == {
        "block.nii.gz", "pea.nii.gz", "segmentation.json", "statistics.csv"
    }  # fmt: skip
    for name, number in (("block", 4), ("pea", 9)):
        assert np.array_equal(read_labels(folder / f"{name}.nii.gz").array, whole == number)
    assert run("-o", folder, "--split", "--statistics").code == 4


def test_some_organs_by_other_ids_are_those_of_the_whole_run(run, case, tmp_path):
    (tmp_path / "ids.toml").write_text("block = 300")
    assert run("-o", case.with_name("all.nii.gz")).code == 0
    outcome = run(
        "-o", case.with_name("one.nii.gz"), "--organs", "block", "--label-map", tmp_path / "ids.toml", "--json"
    )
    assert outcome.code == 0, outcome.stderr
    one, whole = (read_labels(case.with_name(f"{name}.nii.gz")).array for name in ("one", "all"))
    assert np.array_equal(one == 300, whole == 4) and set(np.unique(one)) <= {0, 300}
    report = json.loads(outcome.stdout)
    assert report["labels"] == {"300": "block"} and [organ["id"] for organ in report["organs"]] == [300]
    assert str(tmp_path) not in outcome.stdout


def test_colour_tables_come_along_unless_they_are_not_wanted(run, case):
    assert run("-o", case.with_name("mask.nii.gz")).code == 0
    assert "block" in case.with_name("mask.ctbl").read_text()
    assert '"pea"' in case.with_name("mask_itksnap.txt").read_text()
    assert run("-o", case.with_name("plain.nii.gz"), "--no-colours").code == 0
    assert not case.with_name("plain.ctbl").exists()


def test_doubts_are_in_the_json_and_on_the_terminal(case, run):
    outcome = run("-o", case.with_name("mask.nii.gz"), "--json")
    report = json.loads(outcome.stdout)
    codes = {flag["code"] for flag in report["flags"]}
    assert codes <= {"low-confidence", "not-found", "little-found", "few-sure", "no-abdomen"} and codes
    assert all(flag["text"] in outcome.stderr for flag in report["flags"])
    assert all({"confidence", "certainty", "agreement"} <= set(organ) for organ in report["organs"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda hu: hu * 0, "every voxel has the same value"),
        (lambda hu: painted_classes().transpose(2, 1, 0), "label map"),
        (lambda hu: np.abs(hu) * 3 + 1, "no CT in HU"),
        (lambda hu: ((hu + 1000) % 1000) * 4.0 - 1000, "MR"),
        (lambda hu: (hu + 1000) / 1200, "scaled"),
    ],
)
def test_what_cannot_be_a_ct_makes_no_mask(run, case, change, said):
    image = nib.load(case)
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)).astype(np.float32), image.affine), case)
    outcome = run("-o", case.with_name("mask.nii.gz"))
    assert outcome.code == 3 and said in outcome.stderr and outcome.stderr.count("\n") == 1
    assert [path.name for path in case.parent.iterdir()] == ["patient.nii.gz"]


@pytest.mark.parametrize(("spacing", "said"), [(0.0, "spacing"), (0.02, "millimetre"), (2000.0, "millimetre")])
def test_a_spacing_that_is_none_makes_no_mask(run, case, spacing, said):
    header = nib.load(case)
    image = nib.Nifti1Image(np.asarray(header.dataobj), None)
    image.header["pixdim"][1:4] = spacing
    nib.save(image, case)
    outcome = run("-o", case.with_name("mask.nii.gz"))
    assert outcome.code == 3 and said in outcome.stderr.splitlines()[-1]
    assert [path.name for path in case.parent.iterdir()] == ["patient.nii.gz"]


def test_what_cannot_be_a_ct_is_segmented_by_force_and_says_so(run, case):
    write_volume(case, painted_volume(), overwrite=True)
    outcome = run("-o", case.with_name("mask.nii.gz"), "--force", "--statistics", "--json")
    assert outcome.code == 0
    report = json.loads(outcome.stdout)
    assert report["flags"][0]["severity"] == "error" and "label map" in outcome.stderr
    assert all(organ["statistics"]["mean_hu"] is None for organ in report["organs"])


def test_a_case_that_cannot_be_written_to_the_end_leaves_nothing(run, case, monkeypatch):
    def fail(*_, **__):
        raise OutputError("no space left to write it")

    monkeypatch.setattr("flarekit.pipeline.writing.draw_overlay", fail)
    outcome = run("-o", case.with_name("mask.nii.gz"), "--preview", "--save-probabilities")
    assert outcome.code == 4
    assert [path.name for path in case.parent.iterdir()] == ["patient.nii.gz"]


def test_what_an_interrupted_run_left_is_replaced(run, case):
    names = ["mask.nii.gz", "mask_itksnap.txt", "mask.ctbl"]
    case.with_name("mask.json").write_text(json.dumps(UNFINISHED | {"outputs": names}))
    case.with_name("mask.nii.gz").write_text("half")
    outcome = run("-o", case.with_name("mask.nii.gz"))
    assert outcome.code == 0, outcome.stderr
    assert read_labels(case.with_name("mask.nii.gz")).array.shape == SHAPE
    assert run("-o", case.with_name("mask.nii.gz")).code == 4


def test_doubts_about_the_whole_mask_are_the_last_words(run, case):
    outcome = run("-o", case.with_name("mask.nii.gz"))
    flags = json.loads(case.with_name("mask.json").read_text())["flags"]
    doubts = [flag["text"] for flag in flags if "organ" not in flag and flag["severity"] != "note"]
    assert doubts and outcome.stdout.endswith("".join(f"Doubtful: {text}\n" for text in doubts))


@pytest.mark.parametrize("folder", [".", "..", "/"])
def test_a_label_map_needs_a_name(run, folder):
    outcome = run("-o", folder)
    assert outcome.code == 2 and "a label map goes to a file" in outcome.stderr


def test_a_ct_is_given_once(run, run_cli, case):
    assert run_cli("segment").code == 2
    assert run(case).code == 2
