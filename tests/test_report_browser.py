"""The report in a real browser: what is drawn where, mouse, keys, and that nothing is fetched.

Needs Chromium (Debian's package `chromium`); without it these tests are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import browser
import numpy as np
import pytest
from browser import Browser
from segmentation_doubles import ORGANS

from flarekit.report.index import IndexEntry, write_index
from flarekit.report.overlay import colour
from flarekit.report.page import ReportCase, write_report
from flarekit.volumes import Volume

SHAPE = (18, 40, 52)  # slices, rows, columns
SPACING_MM = (5.0, 2.0, 2.0)
GREY, WHITE, BLACK = 40, 200, -500  # HU
BONE_Z, BONE_H, BONE_W = 14, 6, 9  # a white block around it: near the head, in front, on the patient's right
READY = "document.body.dataset.ready === 'true'"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of this file."""
    if browser.PROGRAM is None:
        pytest.skip("no Chromium on this machine: the report is not tested in a browser")
    running = Browser(tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a grey block of tissue with a white one in a corner, an organ in the middle and a pea."""
    hu = np.full(SHAPE, GREY, dtype=np.int16)
    hu[BONE_Z - 2 : BONE_Z + 3, BONE_H - 4 : BONE_H + 5, BONE_W - 6 : BONE_W + 7] = WHITE
    classes = np.zeros(SHAPE, dtype=np.uint8)
    classes[4:10, 15:30, 20:40] = 1
    classes[5, 33:37, 3:9] = 2
    volume = Volume.from_source(hu.transpose(2, 1, 0), np.diag([-2.0, -2.0, 5.0, 1.0]))
    sidecar = {"image": "case.nii.gz", "references": [{"slice": 4}, {"slice": 12}], "sampled": [0, 4, 8, 12, 16]}
    certainty = np.full((2, SHAPE[0]), 0.8)
    case = ReportCase(volume=volume, classes=classes, labels=ORGANS, sidecar=sidecar, certainty=certainty)
    path = tmp_path_factory.mktemp("report") / "case.html"
    write_report(path, case)
    return path


@pytest.fixture
def page(chromium: Browser, report: Path) -> Iterator[Browser]:
    """The report, freshly opened and fully decoded; at the end, nothing was complained of, nothing fetched."""
    chromium.open(report)
    chromium.wait_for(READY)
    yield chromium
    assert chromium.complaints == []
    assert [url for url in chromium.requests if not url.startswith("data:")] == [report.as_uri()]


def slice_of(page: Browser, plane: str = "axial") -> str:
    return page.value(f"document.querySelector('[data-plane={plane}] .where').textContent")


def seen(page: Browser, plane: str, across: float, down: float) -> list[int]:
    """The colour of a view at shares of its width and height."""
    return page.colour(f"[data-plane={plane}] canvas", across, down)


def go_to(page: Browser, z: int, h: int, w: int) -> None:
    page.value(f"state.at = [{z}, {h}, {w}]; setCross(false); setOverlay('hidden')")
    page.press("x")
    page.press("x")


def test_the_volume_is_decoded_as_it_was(page):
    decoded = page.value("[...voxels].map((level) => data.hu[level])")
    volume = np.array(decoded).reshape(SHAPE)
    assert abs(volume[BONE_Z, BONE_H, BONE_W] - WHITE) <= 5 and abs(volume[0, 35, 45] - GREY) <= 5
    classes = np.array(page.value("[...classes]")).reshape(SHAPE)
    assert (classes == 1).sum() == 6 * 15 * 20 and (classes[5, 33:37, 3:9] == 2).all() and (classes == 2).sum() == 24


@pytest.mark.parametrize(
    ("plane", "sides"), [("axial", "RLAP"), ("coronal", "RLSI"), ("sagittal", "APSI")]
)  # left, right, top, bottom
def test_each_plane_is_turned_as_radiologists_have_it(page, plane, sides):
    go_to(page, BONE_Z, BONE_H, BONE_W)
    places = {"R": BONE_W / 52, "A": BONE_H / 40, "S": 1 - (BONE_Z + 0.5) / 18}
    across, down = places[sides[0]], places[sides[2]]
    white, grey = seen(page, plane, across, down), seen(page, plane, 1 - across, 1 - down)
    assert white[0] > 200 and grey[0] < 140
    assert page.value(f"Object.values(PLANES.{plane}.sides).join('')") == sides


def test_distances_are_true(page):
    ratios = "Object.values(views).map(({ canvas }) => canvas.clientWidth / canvas.clientHeight)"
    axial, coronal, sagittal = page.value(ratios)
    assert axial == pytest.approx(104 / 80, rel=0.01)
    assert coronal == pytest.approx(104 / 90, rel=0.01) and sagittal == pytest.approx(80 / 90, rel=0.01)


def test_organs_have_the_colours_of_the_overlay(page):
    go_to(page, 6, 22, 30)
    page.value("setOverlay('filled'); setOpacity(1)")
    page.press("x")
    red, green, blue = (int(colour(1)[i : i + 2], 16) for i in (1, 3, 5))
    for plane, across, down in (
        ("axial", 25 / 52, 25 / 40),
        ("coronal", 25 / 52, 11 / 18),
        ("sagittal", 25 / 40, 11 / 18),
    ):
        assert seen(page, plane, across, down) == pytest.approx([red, green, blue], abs=6)
    heights = (3.2, 3.7, 9.3, 9.8)  # in slices: the block reaches from 3.5 to 9.5
    assert [seen(page, "coronal", 25 / 52, 1 - (z + 0.5) / 18)[0] > 180 for z in heights] == [False, True, True, False]
    page.click("#shown label:nth-of-type(2) input")
    assert seen(page, "axial", 25 / 52, 25 / 40)[0] < 140, "the block is switched off"
    page.click("#shown label:nth-of-type(1) input")
    page.click("#shown label:nth-of-type(1) input")
    assert seen(page, "axial", 25 / 52, 25 / 40)[0] > 180, "all are switched on"


def test_keys_move_through_slices(page):
    page.press("Home")
    assert slice_of(page) == "slice 0, S 0.0 mm"
    page.press("ArrowUp")
    page.press("PageUp")
    assert slice_of(page) == "slice 11, S 55.0 mm"
    page.press("ArrowDown")
    assert slice_of(page) == "slice 10, S 50.0 mm"
    page.press("End")
    page.press("ArrowUp")
    assert slice_of(page) == "slice 17, S 85.0 mm"
    page.press("c")
    page.press("Home")
    assert (slice_of(page, "coronal"), slice_of(page)) == ("cut 0, A 0.0 mm", "slice 17, S 85.0 mm")
    page.press("s")
    page.press("End")
    assert slice_of(page, "sagittal") == "cut 51, L 102.0 mm"


def test_keys_find_the_reference_slices(page):
    page.press("Home")
    page.press("n")
    assert slice_of(page).startswith("slice 4,")
    assert page.value("document.querySelector('[data-plane=axial]').classList.contains('reference')")
    page.press("n")
    page.press("n")
    assert slice_of(page).startswith("slice 12,")
    page.click("#previous")
    assert slice_of(page).startswith("slice 4,")


def test_keys_change_window_organs_opacity_cross_and_size(page):
    page.press("w")
    assert page.value("[state.level, state.width, byId('level').value]") == [30, 150, "30"]
    page.press("o")
    assert page.value("byId('overlay').value") == "outlined"
    page.press("+")
    assert page.value("byId('opacity').value") == "48"
    page.press("x")
    assert page.value("byId('cross').checked") is False
    page.press("e")
    assert page.value("[...document.querySelectorAll('.view')].filter((view) => view.offsetWidth).length") == 1
    page.press("e")
    assert page.value("[...document.querySelectorAll('.view')].filter((view) => view.offsetWidth).length") == 3


def test_keys_reach_a_plane_from_anywhere(page):
    page.click("#next")
    page.press("c")
    page.press("Home")
    assert slice_of(page, "coronal").startswith("cut 0,")
    page.press("e")
    page.press("s")
    page.press("End")
    large = (
        "[...document.querySelectorAll('.view')].filter((view) => view.offsetWidth).map((view) => view.dataset.plane)"
    )
    assert page.value(large) == ["sagittal"] and slice_of(page, "sagittal").startswith("cut 51,")


def test_keys_typed_into_a_number_are_its_own(page):
    before = slice_of(page)
    page.click("#level")
    page.press("ArrowUp")
    page.press("n")
    assert slice_of(page) == before
    assert page.value("byId('level').value") == "60"


def test_the_keyboard_alone_reaches_every_view(page):
    page.value("byId('next').focus()")
    seen = set()
    for _ in range(20):
        page.press("Tab")
        seen.add(page.value("document.activeElement.closest('.view')?.dataset.plane"))
    assert {"axial", "coronal", "sagittal"} <= seen
    named = "(e) => e.ariaLabel || e.labels?.length || e.textContent.trim()"
    controls = "[...document.querySelectorAll('input, select, button, canvas')]"
    assert page.value(f"{controls}.length > 10 && {controls}.every({named})")


def test_the_wheel_changes_the_slice_and_a_click_the_other_planes(page):
    page.press("Home")
    page.wheel("[data-plane=axial] canvas", -100)
    assert slice_of(page) in ("slice 2, S 10.0 mm", "slice 3, S 15.0 mm")
    page.click("[data-plane=axial] canvas", across=10.5 / 52, down=30.5 / 40)
    assert slice_of(page, "coronal").startswith("cut 30,") and slice_of(page, "sagittal").startswith("cut 10,")
    page.click("[data-plane=coronal] canvas", across=0.5, down=0.5 / 18)
    assert slice_of(page).startswith("slice 17,"), "the head is up"


def test_organs_and_plots_lead_to_slices(page):
    page.click("button.go[value='2']")
    assert slice_of(page).startswith("slice 5,")
    assert "pea" in page.value("byId('cursor').textContent")
    in_sight = "(({ top }) => top >= 0 && top < innerHeight)(byId('views').getBoundingClientRect())"
    assert page.value(in_sight), "the slice is looked at, not the table"
    page.click(".profile svg", across=8.5 / 18)
    assert slice_of(page).startswith("slice 8,")
    assert page.value("document.querySelector('.profile .cursor').getAttribute('x1')") == "8.5"


def test_an_enlarged_view_fits_into_a_low_window(chromium, report):
    chromium.open(report, size=(1024, 600))
    chromium.wait_for(READY)
    chromium.press("e")
    top, bottom = chromium.value("(({ top, bottom }) => [top, bottom])(views.axial.figure.getBoundingClientRect())")
    assert 0 <= top < bottom <= 600


def test_views_stay_where_they_are_from_slice_to_slice(chromium, report):
    chromium.open(report, size=(820, 700))
    chromium.wait_for(READY)
    tops = []
    for key in ("Home", "n"):  # no reference slice, and one
        chromium.press(key)
        tops.append(chromium.value("byId('views').querySelector('canvas').getBoundingClientRect().top + scrollY"))
    assert tops[0] == tops[1]


def test_a_flag_leads_to_its_organ(chromium, tmp_path):
    classes = np.zeros(SHAPE, dtype=np.uint8)
    classes[5, 33:37, 3:9] = 2
    flag = {"severity": "warning", "text": "pea: low confidence, 0.42.", "organ": "pea"}
    volume = Volume.from_source(np.zeros(SHAPE[::-1], dtype=np.int16), np.diag([-2.0, -2.0, 5.0, 1.0]))
    case = ReportCase(volume=volume, classes=classes, labels=ORGANS, sidecar={"flags": [flag]})
    write_report(tmp_path / "page.html", case)
    chromium.open(tmp_path / "page.html")
    chromium.wait_for(READY)
    chromium.press("Home")
    chromium.click(".flag .go")
    assert slice_of(chromium).startswith("slice 5,")


def test_the_index_leads_to_the_report(chromium, report):
    index = report.with_name("index.html")
    flag = {"severity": "warning", "text": "pea: low confidence, 0.42."}
    organs = [{"name": "pea", "volume_ml": 1.0, "confidence": 0.42}]
    case = IndexEntry.of("case", {"flags": [flag], "organs": organs}, report.name)
    write_index(index, [case, IndexEntry(name="bad", failure="holds NaN")], overwrite=True)
    chromium.open(index)
    assert chromium.value("[...document.querySelectorAll('tbody th')].map((cell) => cell.textContent)") == [
        "bad",
        "case",
    ]
    chromium.click("tbody a")
    chromium.wait_for(f"location.pathname.endsWith('/{report.name}') && {READY}")
    assert chromium.complaints == []


def test_the_page_is_readable_on_a_phone_and_in_the_dark(chromium, report, tmp_path):
    chromium.open(report, size=(390, 844), dark=True)
    chromium.wait_for(READY)
    assert chromium.value("document.documentElement.scrollWidth") <= 390
    red = chromium.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert int(red) < 40
    chromium.screenshot(tmp_path / "phone.png")
    assert (tmp_path / "phone.png").stat().st_size > 5000
    assert chromium.complaints == []
