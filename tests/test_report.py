"""The quality report: what is put on the page, worked by hand, and the command that makes it."""

from __future__ import annotations

import base64
import json
import re
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from segmentation_doubles import ORGANS, SHAPE, SPACING_MM, painted_classes, painted_volume

from flarekit.errors import InputError, OutputError
from flarekit.labels import FLARE22, IGNORE, LabelSet
from flarekit.report.by_slice import areas_px, means
from flarekit.report.case_files import ReportFiles, read_case
from flarekit.report.coding import jpeg, runs
from flarekit.report.grey_levels import hu_of_levels, to_levels
from flarekit.report.index import IndexEntry, by_need, index, write_index
from flarekit.report.mask_facts import doubts_about
from flarekit.report.organ_facts import organ_facts
from flarekit.report.overlay import COLOURS, colour
from flarekit.report.page import ReportCase, page, write_report
from flarekit.report.profiles import steps
from flarekit.report.shown_grid import ShownGrid
from flarekit.report.viewer import viewer_data
from flarekit.volumes import Volume, write_labels, write_map, write_volume
from flarekit.volumes.label_names import label_names
from flarekit.volumes.naming import NamedLabel

SIDECAR = {
    "format": "flarekit-segmentation",
    "version": 1,
    "image": "case.nii.gz",
    "organs": [
        {"name": "block", "id": 4, "volume_ml": 51.2, "confidence": 0.91},
        {"name": "pea", "id": 9, "volume_ml": 1.6, "confidence": 0.42},
    ],
    "sampled": [1, 5, 9],
    "second_pass": {"doubtful": ["pea"], "slices": [7], "found": ["pea"]},
    "references": [{"slice": 5, "mm": 20.0}, {"slice": 7, "mm": 28.0}],
    "models": {"reference": {"checkpoint": "starter-reference@1", "weights_sha256": "ab" * 32}},
    "flags": [
        {"severity": "note", "code": "cut", "text": "block: cut below"},
        {"severity": "warning", "code": "low-confidence", "text": "pea: low agreement"},
    ],
}


def painted_case(**changes) -> ReportCase:
    return ReportCase(
        **{"volume": painted_volume(), "classes": painted_classes(), "labels": ORGANS, "sidecar": SIDECAR} | changes
    )


def data_of(html: str) -> dict:
    """What the page's script is given."""
    return json.loads(re.search(r'<script type="application/json" id="case">(.*?)</script>', html, re.S)[1])


def read_runs(text: str) -> list[tuple[int, int]]:
    return [(int(run >> 24), int(run & 0xFFFFFF)) for run in np.frombuffer(base64.b64decode(text), dtype="<u4")]


def test_soft_tissue_gets_most_of_the_grey_levels():
    assert to_levels(np.array([-3024, -1350, -160, 40, 240, 1300, 3071])).tolist() == [0, 0, 60, 135, 210, 255, 255]
    hu = hu_of_levels()
    assert len(hu) == 256 and (hu[0], hu[60], hu[135], hu[255]) == (-1350, -160, 40, 1300)
    soft = np.arange(-160, 241)
    assert np.abs(np.array(hu)[to_levels(soft)] - soft).max() <= 2


def test_classes_are_coded_as_runs_of_equal_ones():
    classes = np.array([[0, 0, 3], [3, 1, 255]], dtype=np.uint8)
    assert read_runs(runs(classes)) == [(0, 2), (3, 2), (1, 1), (255, 1)]
    assert read_runs(runs(np.zeros((300, 300), dtype=np.uint8))) == [(0, 90_000)]


def test_a_jpeg_keeps_the_levels_of_an_even_area():
    picture = Image.open(BytesIO(base64.b64decode(jpeg(np.full((20, 31), 135, dtype=np.uint8)))))
    assert picture.mode == "L" and picture.size == (31, 20)
    assert np.abs(np.asarray(picture).astype(int) - 135).max() <= 1


def test_a_small_volume_is_shown_voxel_by_voxel():
    grid = ShownGrid.of(SHAPE)
    assert grid.shape == SHAPE and grid.slices == tuple(range(12))
    assert np.array_equal(grid.classes(painted_classes()[7]), painted_classes()[7])
    np.testing.assert_allclose(grid.affine(painted_volume()), painted_volume().affine)


def test_a_large_volume_is_thinned_alike_in_picture_mask_and_position():
    grid = ShownGrid.of((501, 640, 480))
    assert grid.shape == (167, 320, 240) and grid.slices[:2] == (1, 4) and grid.slices[-1] == 499
    rows, columns = np.indices((640, 480))
    corner = grid.image(rows * 1000.0 + columns)[3, 5]  # of voxels 6, 7 and 10, 11
    assert corner == pytest.approx(6500 + 10.5, rel=1e-3)
    volume = Volume.from_source(np.zeros((480, 640, 501), dtype=np.int16), np.diag([-0.8, -0.7, 1.5, 1.0]))
    place = grid.affine(volume) @ (2, 3, 5, 1)
    np.testing.assert_allclose(place, volume.affine @ (7, 6.5, 10.5, 1))
    assert grid.nearest(8) == 2 and grid.nearest(500) == 166


def test_the_shown_mask_lies_where_the_shown_picture_does():
    grid = ShownGrid.of((1, 700, 500))
    classes = np.zeros((700, 500), dtype=np.uint8)
    classes[100:400, 50:90] = 1
    shown, picture = grid.classes(classes), grid.image(classes)
    assert np.array_equal(shown[5:-5, 5:-5] > 0, picture[5:-5, 5:-5] > 0.5)


def test_areas_and_means_by_slice():
    classes = np.array([[[1, 1, 2]], [[0, 2, IGNORE]]], dtype=np.uint8)
    assert areas_px(classes, 2).tolist() == [[2, 0], [1, 1]]
    values = np.array([[[10, 20, 40]], [[0, 8, 99]]], dtype=np.uint8)
    np.testing.assert_array_equal(means(values, classes, 2), [[15.0, np.nan], [40.0, 8.0]])


def test_a_profile_is_broken_where_an_organ_is_not():
    assert steps(np.array([np.nan, 1.0, 0.5, np.nan, 0.25])) == "M1 0H2V50H3M4 75H5"
    assert steps(np.full(3, np.nan)) == ""


def test_the_viewer_is_told_slice_numbers_as_the_file_has_them():
    hu = painted_volume().array
    head_first = Volume.from_source(hu[::-1].transpose(2, 1, 0), np.diag([-2.0, -2.0, -4.0, 1.0]))
    data = viewer_data(head_first, painted_classes(), ORGANS, [7, 5])
    assert data["slices"] == list(range(11, -1, -1)) and data["depth"] == list(range(12))
    assert data["references"] == [5, 7] and data["shape"] == list(SHAPE)
    assert data["spacing_mm"] == list(SPACING_MM)
    np.testing.assert_allclose(np.array(data["affine"]) @ (7, 3, 2, 1), (head_first.affine @ (7, 3, 2, 1))[:3])
    assert [organ["title"] for organ in data["organs"]] == ["block", "pea"]


def test_undecided_voxels_are_shown_as_such():
    classes = painted_classes()
    classes[0] = IGNORE
    assert viewer_data(painted_volume(), classes, ORGANS, [])["organs"][-1]["title"] == "undecided"


def test_the_page_says_what_the_sidecar_says():
    html = page(painted_case())
    assert "<h1>case.nii.gz</h1>" in html and "starter-reference@1" in html
    assert html.index("pea: low agreement") < html.index("block: cut below"), "warnings come before notes"
    assert "51.2" in html and "0.910" in html and "0.420" in html
    assert "reference slices: 2 &middot; also looked at: 2" in html
    assert data_of(html)["references"] == [5, 7]


def test_a_flag_names_its_organ_as_people_write_it():
    flag = {"severity": "warning", "text": "left_kidney: low confidence, 0.61.", "organ": "left_kidney"}
    assert "</span>left kidney: low confidence, 0.61." in page(painted_case(sidecar=SIDECAR | {"flags": [flag]}))


def test_a_volume_is_rounded_as_in_the_sidecar():
    labels = LabelSet(name="one", names=("aorta",), ids=(5,))
    (aorta,) = organ_facts({}, labels, np.array([[2350]]), 0.02699999, None)
    assert f"{aorta['volume_ml']:.1f}" == f"{63.45:.1f}"


def test_a_flag_leads_to_its_organ_where_the_mask_holds_it():
    flags = [{"severity": "warning", "text": f"{name}: unsure", "organ": name} for name in ("pea", "tail")]
    html = page(painted_case(sidecar=SIDECAR | {"flags": flags}))
    assert '</span><button type="button" class="go" value="2" title="Go to pea">pea</button>: unsure' in html
    assert "</span>tail: unsure" in html


def test_many_organs_differ_in_colour():
    assert len({colour(c) for c in range(1, 53)}) == 52
    assert colour(1) == COLOURS[0]


def test_reference_slices_are_explained_where_there_are_any():
    assert "reference slices; " in page(painted_case())
    assert "reference slices; " not in page(painted_case(sidecar={}))


def test_a_mask_without_anything_beside_it_has_a_page():
    html = page(painted_case(sidecar={}))
    assert "A CT" in html and "51.2" in html and "How it was made" not in html and "reference slices: 0" not in html


def test_an_empty_mask_has_a_page():
    data = data_of(page(painted_case(classes=np.zeros(SHAPE, dtype=np.uint8), sidecar={})))
    assert data["organs"] == [] and [read_runs(text) for text in data["mask"]] == [[(0, 40 * 52)]] * 12


def test_organs_are_plotted_with_certainty_and_uncertainty():
    certainty = np.full((2, 12), 0.9)
    certainty[0, 4] = 0.5
    html = page(painted_case(certainty=certainty, uncertainty=1 - certainty))
    assert "certainty from 0.50, uncertainty to 0.50" in html
    assert html.count('<figure class="profile"') == 2
    (block, pea) = re.findall(r'class="certainty" d="([^"]*)"', html)
    assert block.startswith("M2 10H3") and block.endswith("H10") and pea == "M7 10H8", "only where the organ is"


def test_the_confidence_of_an_organ_is_that_of_its_voxels():
    certainty = np.full((2, 12), np.nan)
    certainty[0, 2:4] = 0.4, 0.8
    html = page(painted_case(sidecar={}, certainty=certainty))
    assert "<td>0.600</td>" in html


def test_measurements_are_told_and_missing_ones_have_a_reason():
    block = {
        "mean_hu": 100.4,
        "sd_hu": None,
        "median_hu": 100.0,
        "extent_mm": [32.0, 40.0, 41.6],
        "pieces": 1,
        "cut_at": ["top", "scan circle"],
        "reasons": {"sd_hu": "the values are <odd>"},
    }
    organs = [{"name": "block", "id": 40, "volume_ml": 51.2, "confidence": 0.91, "statistics": block}]
    html = page(painted_case(sidecar={"organs": organs}))
    cells = re.findall(r"<td>(.*?)</td>", html)
    assert cells[:4] == ["40", "51.2", "0.910", "100"]
    assert "the values are &lt;odd&gt;" in cells[4]
    assert cells[5:9] == ["100", "32 x 40 x 42", "1", "top, scan circle"]
    assert "SD" in html and 'value="2"' not in html, "the pea was not asked for"


def test_text_from_outside_cannot_become_markup():
    evil = "</script><script>alert(1)</script>"
    labels = LabelSet(name="evil", names=(evil, "pea"), ids=(4, 9))
    sidecar = SIDECAR | {"image": evil, "flags": [{"severity": "error", "text": evil}], "organs": []}
    html = page(painted_case(labels=labels, sidecar=sidecar))
    assert evil not in html and html.count("<script") == 2
    assert data_of(html)["organs"][0]["title"] == evil


def test_a_page_of_a_large_case_stays_a_few_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    rows, columns = np.indices((512, 512))
    disc = (rows - 256) ** 2 + (columns - 256) ** 2 < 190**2
    body = np.where(disc, 50, -1000).astype(np.int16)
    hu = np.stack([body + rng.normal(0, 20, body.shape).astype(np.int16) for _ in range(10)])
    volume = Volume.from_source(hu.transpose(2, 1, 0), np.diag([-0.8, -0.8, 2.5, 1.0]))
    classes = np.broadcast_to((disc * (columns // 40)).astype(np.uint8), hu.shape)
    case = painted_case(volume=volume, classes=np.where(classes < 3, classes, 0).astype(np.uint8), sidecar={})
    write_report(tmp_path / "page.html", case)
    assert (tmp_path / "page.html").stat().st_size < 10 * 40_000  # 4 MB for 100 slices
    assert "shown here: 10 slices of 320 x 320 pixels" in (tmp_path / "page.html").read_text()


def test_a_page_appears_whole_and_not_over_another(tmp_path):
    write_report(tmp_path / "a.html", painted_case())
    with pytest.raises(OutputError, match="exists already"):
        write_report(tmp_path / "a.html", painted_case())
    with pytest.raises(OutputError, match="name of a web page"):
        write_report(tmp_path / "a.png", painted_case())


def entry(name: str, *severities: str, confidence: float = 0.9, failure: str | None = None) -> IndexEntry:
    sidecar = {
        "organs": [
            {"name": "liver", "volume_ml": 900.0, "confidence": confidence},
            {"name": "left_kidney", "volume_ml": 0.0, "confidence": None},
        ],
        "flags": [{"severity": severity, "text": f"{severity} of {name}"} for severity in severities],
    }
    return IndexEntry(name=name, failure=failure) if failure else IndexEntry.of(name, sidecar, f"{name}.html")


def test_cases_that_need_a_human_most_come_first():
    cases = [
        entry("fine"),
        entry("unsure", confidence=0.4),
        entry("noted", "note", confidence=0.95),
        entry("warned", "warning"),
        entry("twice", "warning", "warning"),
        entry("broken", "error"),
        entry("failed", failure="holds NaN"),
    ]
    order = [case.name for case in by_need(cases)]
    assert order == ["failed", "broken", "twice", "warned", "unsure", "fine", "noted"]


def test_notes_are_no_reason_to_look():
    html = index([entry("a", "note", "warning"), entry("b", "note")])
    assert "warning of a" in html and "note of" not in html


def test_the_index_links_to_the_reports(tmp_path):
    write_index(tmp_path / "index.html", [entry("a b&c", "warning"), entry("bad", failure="is <empty>")])
    html = (tmp_path / "index.html").read_text()
    assert '<a href="a%20b%26c.html">a b&amp;c</a>' in html and "is &lt;empty&gt;" in html
    assert "2 cases: 1 failed, 1 with errors or warnings." in html
    assert "liver" in html and "0.90" in html and "1 of 2" in html
    assert "<script" not in index([])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with ct.nii.gz, mask.nii.gz and mask.json."""
    volume = painted_volume()
    write_volume(tmp_path / "ct.nii.gz", volume)
    write_labels(tmp_path / "mask.nii.gz", volume.like(ORGANS.to_ids(painted_classes())))
    (tmp_path / "mask.json").write_text(json.dumps(SIDECAR))
    return tmp_path


def test_the_command_writes_a_page_without_a_path(files, run_cli):
    outcome = run_cli("report", files / "ct.nii.gz", files / "mask.nii.gz", "-o", files / "page.html", "--json")
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["page"].endswith("page.html")
    html = (files / "page.html").read_text()
    assert str(files) not in html and "/tmp" not in html
    assert "pea: low agreement" in html
    assert run_cli("report", files / "ct.nii.gz", files / "mask.nii.gz", "-o", files / "page.html").code == 4


def test_a_map_of_uncertainty_becomes_plots(files, run_cli):
    values = np.where(painted_classes() > 0, 0.2, 1.0)
    write_map(files / "map.nii.gz", painted_volume().like(values))
    outcome = run_cli(
        "report", files / "ct.nii.gz", files / "mask.nii.gz", "-o", files / "page.html",
        "--uncertainty", files / "map.nii.gz",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    html = (files / "page.html").read_text()
    assert "uncertainty to 0.20" in html and 'class="certainty" d=' not in html


def test_a_ct_is_no_map_of_uncertainty(files, run_cli):
    outcome = run_cli(
        "report", files / "ct.nii.gz", files / "mask.nii.gz", "-o", files / "page.html",
        "--uncertainty", files / "ct.nii.gz",
    )  # fmt: skip
    assert outcome.code == InputError.exit_code and "ct.nii.gz: is no map of values in 0..1" in outcome.stderr


def test_names_that_nobody_said_are_said_to_be_assumed(files, run_cli):
    (files / "mask.json").unlink()
    outcome = run_cli("report", files / "ct.nii.gz", files / "mask.nii.gz", "-o", files / "page.html")
    assert outcome.code == 0 and "FLARE22&#x27;s numbers are assumed" in (files / "page.html").read_text()
    assert "FLARE22's numbers are assumed" in outcome.stderr
    assert "gallbladder" in (files / "page.html").read_text()


NAMED = tuple(NamedLabel(id=i, name=name, colour=(9, 9, 9)) for i, name in ((4, "block & co"), (9, "pea")))


@pytest.mark.parametrize("name", ["named.nii.gz", "named.nii", "named.seg.nrrd", "named.mha"])
def test_names_in_the_header_of_a_mask_are_its_organs(files, name):
    write_labels(files / name, painted_volume().like(ORGANS.to_ids(painted_classes())), labels=NAMED)
    case = read_case(ReportFiles(image=files / "ct.nii.gz", mask=files / name))
    assert (case.labels.names, case.labels.ids) == (("block & co", "pea"), (4, 9))
    assert [flag["code"] for flag in case.sidecar["flags"] if flag["code"] == "assumed-names"] == []


def test_a_header_with_one_name_for_two_organs_names_none(files):
    twice = tuple(NamedLabel(id=i, name="pea", colour=(9, 9, 9)) for i in (4, 9))
    write_labels(files / "named.nii.gz", painted_volume().like(ORGANS.to_ids(painted_classes())), labels=twice)
    assert read_case(ReportFiles(image=files / "ct.nii.gz", mask=files / "named.nii.gz")).labels is FLARE22


def test_a_header_whose_names_are_broken_names_none(files):
    image = nibabel.load(files / "mask.nii.gz")
    broken = nibabel.nifti1.Nifti1Extension(0, b"<CaretExtension><Label Key='4'>block")
    image.header.extensions.append(broken)
    nibabel.save(image, files / "named.nii")
    assert label_names(files / "named.nii") == {}
    assert label_names(files / "mask.nii.gz") == {}


def test_a_mask_is_measured_whatever_lies_beside_it(files):
    (files / "mask.json").unlink()
    case = read_case(ReportFiles(image=files / "ct.nii.gz", mask=files / "mask.nii.gz", labels=ORGANS))
    block, pea = case.sidecar["organs"]
    assert (block["statistics"]["extent_mm"], pea["statistics"]["pieces"]) == ([32.0, 40.0, 40.0], 1)


def test_a_mask_that_was_edited_since_is_told_from_what_its_json_says(files):
    def codes() -> list[str]:
        case = read_case(ReportFiles(image=files / "ct.nii.gz", mask=files / "mask.nii.gz"))
        return [flag["code"] for flag in case.sidecar["flags"] if flag["code"] in ("changed", "renamed")]

    truth = {"organs": [{"name": "block", "id": 4, "volume_ml": 51.2}, {"name": "pea", "id": 9, "volume_ml": 1.6}]}
    (files / "mask.json").write_text(json.dumps(SIDECAR | truth | {"image": "ct.nii.gz"}))
    assert codes() == []
    truth["organs"][1]["volume_ml"] = 1.7
    (files / "mask.json").write_text(json.dumps(SIDECAR | truth | {"image": "other.nii.gz"}))
    assert codes() == ["renamed", "changed"]


def test_large_volumes_may_differ_by_more_before_a_mask_counts_as_edited():
    told = {"organs": [{"name": "liver", "volume_ml": 1500.1}]}  # a ten-thousandth of 1500 mL is 0.15 mL
    assert doubts_about(told, "ct.nii.gz", {"liver": 1500.0}) == []
    (doubt,) = doubts_about(told, "ct.nii.gz", {"liver": 1500.3})
    assert doubt["code"] == "changed" and "liver" in doubt["text"]


def test_organs_that_the_json_does_not_name_are_listed_where_they_are_named_elsewhere(files):
    others = LabelSet(name="others", names=("one", "other"), ids=(4, 9))
    case = read_case(ReportFiles(image=files / "ct.nii.gz", mask=files / "mask.nii.gz", labels=others))
    assert [organ["name"] for organ in case.sidecar["organs"]] == ["one", "other"]


def test_what_propagate_wrote_is_understood(files, run_cli):
    propagated = {
        "format": "flarekit-propagation",
        "version": 1,
        "image": "ct.nii.gz",
        "model": {"checkpoint": "starter-propagation@1", "weights_sha256": "cd" * 32},
        "annotated": [{"slice": 5, "mm": 20.0}],
        "filled": [2, 3],
        "organs": [
            {"name": "block", "id": 4, "volume_ml": 51.2, "confidence": [0.5, 0.7]},
            {"name": "pea", "id": 9, "volume_ml": 1.6, "confidence": [0.0, 0.0]},
        ],
    }
    (files / "mask.json").write_text(json.dumps(propagated))
    outcome = run_cli("report", files / "ct.nii.gz", files / "mask.nii.gz", "-o", files / "page.html")
    assert outcome.code == 0, outcome.stderr
    html = (files / "page.html").read_text()
    assert "starter-propagation@1" in html and "reference slices: 1" in html
    assert "certainty from 0.50" in html and "<td>0.600</td>" in html
    assert data_of(html)["references"] == [5]


def test_a_mask_of_another_grid_is_refused(files, run_cli):
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), dtype=np.uint8), np.eye(4)), files / "other.nii.gz")
    outcome = run_cli("report", files / "ct.nii.gz", files / "other.nii.gz", "-o", files / "page.html")
    assert outcome.code == InputError.exit_code and "different shapes" in outcome.stderr
    assert not (files / "page.html").exists()


@pytest.mark.parametrize(
    "text",
    [
        '{"format": "flarekit-segmentation", ',
        json.dumps(SIDECAR | {"organs": [{"id": 4}]}),
        json.dumps(SIDECAR | {"organs": [SIDECAR["organs"][0]] * 2}),
        json.dumps(SIDECAR | {"references": [5]}),
        json.dumps(SIDECAR | {"flags": ["pea"]}),
        json.dumps(SIDECAR | {"models": {"reference": {}}}),
        json.dumps(SIDECAR | {"organs": [SIDECAR["organs"][0] | {"id": 1.5}]}),
        json.dumps(SIDECAR | {"organs": [SIDECAR["organs"][0] | {"confidence": "high"}]}),
        json.dumps(SIDECAR | {"sampled": [None]}),
        json.dumps(SIDECAR | {"second_pass": 3}),
        json.dumps(SIDECAR | {"flags": [{"text": "pea", "organ": 4}]}),
        json.dumps(SIDECAR | {"seconds": {"read": "soon"}}),
        json.dumps(SIDECAR | {"settings": []}),
        json.dumps({"format": "flarekit-label-names", "labels": {"4": None}}),
        json.dumps({"format": "flarekit-propagation", "organs": [], "annotated": [], "filled": [], "model": {}}),
    ],
)
def test_a_damaged_sidecar_is_named(files, run_cli, text):
    (files / "mask.json").write_text(text)
    outcome = run_cli("report", files / "ct.nii.gz", files / "mask.nii.gz", "-o", files / "page.html")
    assert outcome.code == InputError.exit_code and "mask.json: is damaged" in outcome.stderr


def test_a_json_of_another_program_is_passed_over(files, run_cli):
    (files / "mask.json").write_text('["not ours"]')
    dataset = files / "dataset.json"
    dataset.write_text(json.dumps({"labels": {"background": 0, "block": 4, "pea": 9}}))
    outcome = run_cli(
        "report", files / "ct.nii.gz", files / "mask.nii.gz", "-o", files / "page.html", "--dataset", dataset
    )
    assert outcome.code == 0, outcome.stderr
    assert "block" in (files / "page.html").read_text()
