"""nnU-Net's layout, against its own documented rules."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from segmentation_doubles import ORGANS, Reader, Ready, loaded, painted_classes, painted_volume

from flarekit.config.consensus import ConsensusConfig
from flarekit.consensus import Round, order, run_round
from flarekit.data import nnunet
from flarekit.data.layouts import CaseFiles, find_cases
from flarekit.reference import ReferenceModule
from flarekit.volumes import read_labels, read_volume, write_volume


def label(cases: list[CaseFiles], out: Path) -> None:
    """Three members, of which one does not see the pea."""
    members = [Ready(ReferenceModule(loaded(Reader(blind=b), name=f"m{i}"))) for i, b in enumerate(((), (2,), ()))]
    config = ConsensusConfig(per_organ=True, layout="nnunet")
    run_round(cases, Round(sources=order(members), labels=ORGANS, config=config, output=out))


def written(folder: Path, name: str, *, offset: int = 0) -> CaseFiles:
    volume = painted_volume()
    write_volume(folder / name, volume.like(volume.array + np.int16(offset)))
    return CaseFiles(name=name.split(".")[0].removesuffix("_0000"), image=folder / name)


def test_it_is_ready_to_train(tmp_path):
    cases = [written(tmp_path / "ct", "a_0000.nii.gz"), written(tmp_path / "ct", "b.nrrd")]
    out = tmp_path / "Dataset101_Pseudo"
    label(cases, out)
    description = json.loads((out / "dataset.json").read_text())
    assert description["channel_names"] == {"0": "CT"} and description["file_ending"] == ".nii.gz"
    # Consecutive from 0, the ignore label called "ignore" and the highest.
    assert description["labels"] == {"background": 0, "block": 1, "pea": 2, "ignore": 3}
    assert description["numTraining"] == 2
    assert sorted(path.name for path in (out / "imagesTr").iterdir()) == ["a_0000.nii.gz", "b_0000.nii.gz"]
    assert sorted(path.name for path in (out / "labelsTr").iterdir()) == ["a.nii.gz", "b.nii.gz"]
    for case in "ab":
        image, mask = (
            sitk.ReadImage(str(out / f)) for f in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz")
        )
        assert image.GetSize() == mask.GetSize()
        for geometry in ("GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(image, geometry)(), getattr(mask, geometry)(), atol=1e-5)
        ids = read_labels(out / "labelsTr" / f"{case}.nii.gz").array
        assert np.array_equal(ids, np.where(painted_classes() == 2, 3, painted_classes()))


def test_flarekit_reads_what_it_wrote(tmp_path):
    out = tmp_path / "out"
    label([written(tmp_path / "ct", "a.nii.gz")], out)
    found = find_cases(out)
    assert found.labels.names == ORGANS.names and found.labels.ignore_id == 3
    assert [case.label.name for case in found.cases] == ["a.nii.gz"]


def test_an_image_that_serves_as_it_is_takes_no_space(tmp_path):
    case = written(tmp_path / "ct", "a.nii.gz")
    placed = nnunet.place_image(case, read_volume(case.image), tmp_path / "out")
    assert placed.samefile(case.image) and placed.name == "a_0000.nii.gz"
    again = nnunet.place_image(case, read_volume(case.image), tmp_path / "out")
    assert again.samefile(case.image)


def test_on_another_file_system_it_is_copied(tmp_path, monkeypatch):
    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    case = written(tmp_path / "ct", "a.nii.gz")
    monkeypatch.setattr(os, "link", refuse)
    placed = nnunet.place_image(case, read_volume(case.image), tmp_path / "out")
    assert not placed.samefile(case.image) and placed.read_bytes() == case.image.read_bytes()


def quarrelling(folder: Path) -> CaseFiles:
    """Its qform, which SimpleITK reads, shifts it by 30 mm."""
    volume = painted_volume()
    image = nib.Nifti1Image(volume.to_source_axes(), volume.source.affine)
    shifted = volume.source.affine.copy()
    shifted[0, 3] += 30
    image.set_sform(volume.source.affine, code=2)
    image.set_qform(shifted, code=1)
    folder.mkdir()
    nib.save(image, folder / "a.nii.gz")
    return CaseFiles(name="a", image=folder / "a.nii.gz")


@pytest.mark.parametrize(
    ("make", "hu_offset"), [(lambda folder: written(folder, "a.nii.gz", offset=1024), 1024), (quarrelling, 0)]
)
def test_an_image_that_nnunet_would_read_otherwise_is_written_anew(tmp_path, make, hu_offset):
    case = make(tmp_path / "ct")
    volume = read_volume(case.image, hu_offset=hu_offset)
    placed = nnunet.place_image(case, volume, tmp_path / "out")
    assert not placed.samefile(case.image)
    image = sitk.ReadImage(str(placed))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, painted_volume().to_source_axes())
    assert image.GetOrigin() == pytest.approx((-volume.source.affine[0, 3], -volume.source.affine[1, 3], 0))
