"""Coded terms of organs, against the tables of PS3.16 that pydicom carries."""

from __future__ import annotations

import pytest

from flarekit.labels import FLARE22
from flarekit.volumes.dicom import terms
from flarekit.volumes.dicom.terms import LEFT, PRIVATE, RIGHT, term_of

CATEGORIES, STRUCTURES, LATERALITY, FAMILIES = 7150, 7192, 244, 7162


def test_every_code_is_in_its_context_group_with_its_meaning():
    for table in (terms._SINGLE, terms._PAIRED):
        for code in table.values():
            assert (code.value, code.meaning) in context_group(STRUCTURES)
    for side in (LEFT, RIGHT):
        assert (side.value, side.meaning) in context_group(LATERALITY)
    category = term_of("liver").category
    assert (category.value, category.meaning) in context_group(CATEGORIES)


def test_the_thirteen_organs_are_coded_and_told_apart():
    found = [term_of(organ) for organ in FLARE22.names]
    assert {term.structure.scheme for term in found} == {"SCT"}
    assert len({(term.structure, term.side) for term in found}) == 13
    sides = {organ: term.side for organ, term in zip(FLARE22.names, found, strict=True) if term.side}
    assert sides == {
        "right_kidney": RIGHT,
        "right_adrenal_gland": RIGHT,
        "left_adrenal_gland": LEFT,
        "left_kidney": LEFT,
    }


@pytest.mark.parametrize(
    ("name", "code", "side"),
    [
        ("Left Kidney", "64033007", LEFT),
        ("kidney_left", "64033007", LEFT),
        ("kidney", "64033007", None),
        ("lung-right", "39607008", RIGHT),
        ("postcava", "64131007", None),
        ("Urinary bladder", "89837001", None),
        ("liver", "10200004", None),
    ],
)
def test_names_of_other_data_sets_are_known(name, code, side):
    term = term_of(name)
    assert (term.structure.value, term.structure.scheme, term.side) == (code, "SCT", side)


@pytest.mark.parametrize(
    "name",
    [
        "liver_left",
        "tumour",
        "liver tumour",
        "prostate/uterus",
        "portal_vein_and_splenic_vein",
        "left right kidney",
        "肝臓",
    ],
)
def test_other_names_get_a_code_of_their_own_and_no_category_that_might_be_wrong(name):
    term = term_of(name)
    assert (term.structure.scheme, term.category.scheme, term.side) == (PRIVATE, PRIVATE, None)
    assert term.structure.meaning == name
    assert len(term.structure.value) == 16
    assert term_of(name.upper()).structure.value == term.structure.value
    assert term_of(f"{name} x").structure.value != term.structure.value


def test_a_long_name_is_cut_where_it_is_shown_and_not_where_it_is_coded():
    first, second = term_of("a" * 80), term_of("a" * 81)
    assert first.structure.meaning == "a" * 64 == second.structure.meaning
    assert first.structure.value != second.structure.value


def context_group(number: int) -> set[tuple[str, str]]:
    """Values and meanings of the SNOMED CT codes in a context group."""
    tables = pytest.importorskip("pydicom.sr._concepts_dict")
    return {
        (value, meaning)
        for values in tables.concepts["SCT"].values()
        for value, (meaning, groups) in values.items()
        if number in groups
    }
