"""What is said about a case from the organs found in it."""

from __future__ import annotations

import pytest

from flarekit.pipeline.flags import organ_flags
from flarekit.pipeline.segmentation import OrganResult


def organ(name: str, confidence: float | None, *, ml: float = 100.0, agreement: float | None = None) -> OrganResult:
    """An organ, found or not."""
    found = ml if confidence is not None else 0.0
    return OrganResult(name=name, id=1, volume_ml=found, confidence=confidence, agreement=agreement)


def codes(*confidences: float | None) -> list[str]:
    """The kinds of flags of a case with organs of these confidences."""
    return [flag.code for flag in organ_flags(organ(f"organ{k}", each) for k, each in enumerate(confidences))]


def test_sure_organs_raise_no_flag():
    assert codes(0.9, 0.65, 0.7) == []


def test_an_organ_that_is_not_sure_is_flagged_with_the_networks_agreement():
    (flag,) = organ_flags([organ("liver", 0.9), organ("pancreas", 0.5, agreement=0.31)])
    assert (flag.severity, flag.code, flag.organ) == ("warning", "low-confidence", "pancreas")
    assert flag.text == "pancreas: low confidence, 0.50 (what the networks draw by themselves overlaps by Dice 0.31)."


@pytest.mark.parametrize(("sure", "flagged"), [(0, True), (2, True), (3, True), (4, False), (13, False)])
def test_a_case_with_hardly_a_sure_organ_is_flagged_as_a_whole(sure, flagged):
    flags = list(organ_flags(organ(f"organ{k}", 0.8 if k < sure else 0.4) for k in range(13)))
    assert (flags[0].code == "few-sure") == flagged if flags else not flagged
    if flagged:
        assert flags[0].organ is None
        assert flags[0].text.startswith(f"{sure} of 13 organs were found with confidence: is it a CT of the abdomen")


def test_organs_not_found_are_not_sure():
    assert codes(0.9, None, None, None, None)[0] == "few-sure"
    assert codes(0.9, None, None) == ["not-found", "not-found"]


def test_nothing_found_is_an_error():
    (flag,) = organ_flags([organ("liver", None), organ("spleen", None)])
    assert (flag.severity, flag.code) == ("error", "no-abdomen")


def test_hardly_anything_found_is_flagged_with_its_volume():
    flag = next(organ_flags([organ("liver", 0.9, ml=3.0), organ("spleen", 0.9, ml=4.5)]))
    assert flag.text == "all that was found are 7.5 mL of 2 organs: is it a CT of the abdomen?"


def test_organs_that_are_not_written_speak_of_the_case_alone():
    found = [organ("liver", 0.9, ml=1400), organ("gallbladder", 0.5, ml=20), organ("spleen", 0.4), organ("aorta", None)]
    assert [flag.code for flag in organ_flags(found, ["gallbladder"])] == ["low-confidence"]
    assert [flag.organ for flag in organ_flags(found, ["aorta"])] == ["aorta"]
    assert list(organ_flags(found, ["liver"])) == []


def test_a_lone_organ_is_not_said_in_the_plural():
    flag = next(organ_flags([organ("liver", 0.9, ml=3.0), organ("spleen", None)]))
    assert flag.text == "all that was found are 3.0 mL of one organ: is it a CT of the abdomen?"
