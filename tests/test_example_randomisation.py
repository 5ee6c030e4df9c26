"""examples/randomisation.py: what each row leaves out, and the steps to the table with tiny networks."""

from __future__ import annotations

import importlib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from segmentation_doubles import publish_tiny

from flarekit.config.phantom import RECIPES
from flarekit.labels import FLARE22
from flarekit.phantom import canonical_volume, synthetic_anatomy
from flarekit.volumes import write_labels

SPACING_MM = (12.0, 7.0, 7.2)
SMALL = ("--spacing", "8", "--size", "48", "--slice-distance", "20")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples")
    return importlib.import_module("randomisation")


def changed(recipe) -> set[str]:
    """The settings in which a recipe differs from the randomised one."""
    full = asdict(RECIPES["randomised"])
    parts = {name: part for name, part in asdict(recipe).items() if isinstance(part, dict)}
    return {f"{name}.{key}" for name, part in parts.items() for key in part if part[key] != full[name][key]}


def test_every_row_leaves_something_else_out(example) -> None:
    left_out = {name: changed(row.recipe) for name, row in example.ROWS.items()}
    assert left_out.pop("all") == left_out.pop("augmentation") == set()
    assert len(left_out.pop("plain")) > 10
    assert all(left_out.values())
    assert sum(map(len, left_out.values())) == len(set.union(*left_out.values()))
    assert [name for name, row in example.ROWS.items() if row.augmentation == "none"] == ["augmentation", "plain"]


def test_what_a_row_loses_is_taken_against_all_of_the_same_seed(example) -> None:
    full = {0: np.full((5, 5), 0.5), 1: np.full((5, 5), 0.75)}
    table = example.markdown({"all": full, "phases": {1: np.full((5, 5), 0.625)}, "plain": {2: full[0]}}).splitlines()
    assert table[2].endswith("| 0.625 | - |")
    assert table[3].endswith("| 0.625 | -0.125 (-0.125 to -0.125) |")
    assert table[4].endswith("| 0.500 | - |")


@pytest.mark.slow
def test_it_paints_trains_segments_and_a_second_run_repeats_nothing(
    example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli
) -> None:
    anatomy = canonical_volume(synthetic_anatomy(0, SPACING_MM, (23, 54, 56)), SPACING_MM)
    for name in ("one", "two"):
        write_labels(tmp_path / "labels" / f"{name}.nii.gz", anatomy)
    monkeypatch.setattr(example, "SPLIT", {"labelled": ["one"], "unlabelled": [], "validation": ["two"]})
    for name, row in example.ROWS.items():
        monkeypatch.setitem(RECIPES, name, replace(row.recipe, name=name))
    done: list[str] = []

    def run(study, row: str, *arguments: str) -> str:
        done.append(arguments[0])
        monkeypatch.chdir(study.out)
        monkeypatch.setenv("FLAREKIT_HOME", str(study.out / "home"))
        if arguments[0] == "train":
            assert Path(arguments[arguments.index("--labelled") + 1]).is_dir()
            publish_tiny(arguments[arguments.index("--name") + 1], labels=FLARE22)
            return ""
        outcome = run_cli(*arguments, *(SMALL if arguments[0] == "phantom" else ()))
        assert outcome.code == 0, outcome.stderr
        return outcome.stdout

    monkeypatch.setattr(example.Study, "_run", run)
    arguments = ["x", str(tmp_path / "labels"), str(tmp_path / "out"), "--rows", "all", "plain", "--seeds", "0"]
    monkeypatch.setattr("sys.argv", arguments)
    example.main()
    table = (tmp_path / "out" / "randomisation.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["all", "`--recipe plain`, no augmentation"]
    assert done.count("train") == 2 and done.count("segment") == 2 * len(example.KINDS)
    done.clear()
    example.main()
    assert "train" not in done and "segment" not in done
    monkeypatch.setattr("sys.argv", [*arguments, "--iterations", "7"])
    with pytest.raises(SystemExit, match="is of 3000 iterations, not 7"):
        example.main()
