"""`flarekit segment --report`: a page for each case, and a batch's index."""

from __future__ import annotations

import json
import re
from html import escape

import numpy as np
import pytest
from segmentation_doubles import ORGANS, SHAPE, painted_classes, painted_ct, painted_volume, publish_tiny

from flarekit.pipeline import OrganResult, Segmentation
from flarekit.pipeline.maps import UncertaintyMap
from flarekit.pipeline.quality_report import report_case
from flarekit.report.page import page
from flarekit.volumes import write_volume

NO_PROPAGATION = ("--no-propagation", "--device", "cpu", "--no-colours", "--report")


@pytest.fixture
def reference() -> str:
    return publish_tiny("ref").name


def test_a_report_lies_beside_the_mask_and_names_no_folder(reference, tmp_path, run_cli):
    write_volume(tmp_path / "patient.nii.gz", painted_ct())
    outcome = run_cli(
        "segment", tmp_path / "patient.nii.gz", "-o", tmp_path / "mask.nii.gz", "--model", reference, *NO_PROPAGATION,
        "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["outputs"] == ["mask.nii.gz", "mask_report.html"] and "statistics" in result["organs"][0]
    assert "report" in result["seconds"]
    html = (tmp_path / "mask_report.html").read_text()
    assert "<h1>patient.nii.gz</h1>" in html and str(tmp_path) not in html
    for flag in result["flags"]:
        assert escape(flag["text"].removeprefix(flag.get("organ", ""))) in html
    assert 'class="certainty" d="M' in html and 'class="uncertainty" d="M' in html and "median" in html


def test_wanted_organs_alone_are_on_the_page_with_their_own_slices():
    classes = np.where(painted_classes() == 2, 2, 0).astype(np.uint8)
    pea = OrganResult(name="pea", id=70, volume_ml=1.6, confidence=0.8)
    certainty = np.full((1, SHAPE[0]), np.nan, dtype=np.float32)
    certainty[0, 7] = 0.8
    found = Segmentation(
        classes=classes, organs=(pea,), certainty=certainty, sampled=(), second_pass=None, references=(), seconds={}
    )
    uncertainty = UncertaintyMap(SHAPE)
    uncertainty.steps[classes == 2] = 51
    sidecar = {"organs": [{"name": "pea", "id": 70, "volume_ml": 1.6, "confidence": 0.8}]}
    html = page(report_case(painted_volume(), found, ORGANS, sidecar, uncertainty))
    assert "<td>70</td>" in html and 'value="1"' not in html
    assert "certainty from 0.80, uncertainty to 0.20" in html
    assert re.findall(r'class="certainty" d="([^"]*)"', html) == ["M7 20H8"]


def test_a_batch_has_an_index_with_the_failed_case_first(reference, tmp_path, run_cli):
    folder = tmp_path / "cts"
    folder.mkdir()
    write_volume(folder / "a.nii.gz", painted_ct())
    (folder / "b.nii.gz").write_bytes(b"no volume")
    command = ("segment", folder, "-o", tmp_path / "out", "--model", reference, *NO_PROPAGATION)
    assert run_cli(*command).code == 7
    html = (tmp_path / "out" / "index.html").read_text()
    assert '<a href="a_report.html">a</a>' in html and (tmp_path / "out" / "a_report.html").exists()
    assert html.index(">b<") < html.index(">a<") and str(tmp_path) not in html
    first = (tmp_path / "out" / "a_report.html").stat().st_mtime_ns
    assert run_cli(*command).code == 7
    assert (tmp_path / "out" / "a_report.html").stat().st_mtime_ns == first, "a finished case is not done again"
    assert "a_report.html" in (tmp_path / "out" / "index.html").read_text()
