"""Painted CTs are no challenge's: stores remember which they are, and a checkpoint that it learned from them."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from segmentation_doubles import painted_ct
from training_setup import SUPERVISED, Workplace, workplace

from flarekit.checkpoints import Registry
from flarekit.data.store import SliceStore
from flarekit.errors import UsageError
from flarekit.phantom.manifest import Manifest
from flarekit.training.runs import train
from flarekit.volumes import write_volume

__all__ = ["workplace"]


def test_a_store_remembers_which_cts_were_painted(run_cli, tmp_path: Path) -> None:
    painted, other = tmp_path / "painted", tmp_path / "other"
    for folder in (painted / "labelled" / "images", other):
        write_volume(folder / f"{folder.name}_0000.nii.gz", painted_ct())
    Manifest(path=painted / "phantom.json", plan={}).write()
    for folder in (painted / "labelled", other):
        outcome = run_cli("preprocess", folder, "-o", tmp_path / "store")
        assert outcome.code == 0, outcome.stderr
    store = SliceStore.open(tmp_path / "store")
    assert {name: store.case(name).header.painted for name in store.cases} == {"images": True, "other": False}


def test_a_network_that_learned_from_painted_cts_is_refused_in_a_challenge(workplace: Workplace) -> None:
    with h5py.File(workplace.folder / "unlabelled" / "case10.h5", "r+") as file:
        file.attrs["painted"] = True
    with pytest.raises(UsageError, match=r"--challenge refuses painted CTs \(unlabelled\)"):
        train(workplace.settings("run", challenge=True), SUPERVISED, Registry.default())
    provenance = train(workplace.settings("run"), SUPERVISED, Registry.default()).provenance
    assert provenance.pretrained_or_extra_data
    assert provenance.data == ("labelled", "unlabelled (painted CTs)", "validation")
