"""examples/selftrain_painted.toml: its first round is the arm `cps` of examples/cps_benefit.py."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from flarekit.config.selftrain import read_selftrain

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_first_round_is_trained_as_the_example_on_cps_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    benefit = importlib.import_module("cps_benefit")
    config = read_selftrain(EXAMPLES / "selftrain_painted.toml")
    (arm,) = (arm for arm in benefit.ARMS if arm.name == "cps")
    options = [*benefit.LOOP, *benefit.OPTIMISER, *benefit.SAVING, *arm.options]
    said = {
        key.removeprefix("--").replace("-", "_"): value for key, value in zip(options[::2], options[1::2], strict=True)
    }
    assert (config.run.arch, said.pop("arch")) == ("lite", "lite")
    assert said.pop("augmentation") == "affine" and config.training.augmentation.rotation_deg == 12.0
    parts = (config.training, config.training.loop, config.training.optimiser)
    found = {name: next(getattr(part, name) for part in parts if hasattr(part, name)) for name in said}
    assert {name: str(value) for name, value in found.items()} == {
        name: str(float(value)) if isinstance(found[name], float) else value for name, value in said.items()
    }
    assert config.rounds.seed == benefit.SEEDS[0] and config.rounds.models == len(benefit.SEEDS)


def test_the_cts_are_painted_as_the_example_on_cps_does() -> None:
    script, benefit = (EXAMPLES / "selftrain_painted.sh").read_text(), (EXAMPLES / "cps_benefit.py").read_text()
    parts = re.search(r"for part in ([a-z ]+);", script)[1].split()
    assert str(tuple(parts)).replace("'", '"') in benefit
    assert "seed=4000" in script and "seed + 100" in script and "str(4000 + 100 * seed)" in benefit


def test_the_readmes_configuration_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(name = .*?)```", (EXAMPLES.parent / "README.md").read_text(), re.DOTALL)
    (tmp_path / "selftrain.toml").write_text(text)
    config = read_selftrain(tmp_path / "selftrain.toml")
    assert (config.rounds.number, config.rounds.patience, config.control is not None) == (3, 1, True)
