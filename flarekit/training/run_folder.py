"""A run's folder: `config.toml`, `metrics.jsonl`, and the state that a killed run goes on from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flarekit.checkpoints import load_state, save_state
from flarekit.config import toml
from flarekit.errors import OutputError, UsageError
from flarekit.files import output_errors, write_text

# Settings that change when things happen, never what is learned.
_FREE = frozenset({"workers", "save_every"})


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The full configuration, written when the run starts."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def state(self) -> Path:
        """Everything that the next iteration depends on."""
        return self.path / "state.pt"

    @property
    def best(self) -> Path:
        """Weights of the best validation so far."""
        return self.path / "best.pt"

    @property
    def published(self) -> Path:
        """Names the checkpoint that a finished run was published as."""
        return self.path / "published.txt"

    def begin(self, config: dict[str, Any]) -> None:
        """Make the folder of a new run. Raises OutputError when there is one already, or it cannot be written."""
        if self.path.exists():
            raise OutputError(
                "exists already", where=self.path, remedy="Pass --resume to go on, or choose another --name."
            )
        with output_errors(self.path):
            self.path.mkdir(parents=True)
        write_text(self.config, toml.dumps(config) + "\n")

    def continue_with(self, config: dict[str, Any]) -> dict[str, Any] | None:
        """The state to go on from, None when the run was stopped before its first.

        Raises UsageError when the run is finished or was started with another configuration, InputError or
        CheckpointError when its files are missing or damaged.
        """
        if self.published.exists():
            reference = self.published.read_text(encoding="utf-8").strip()
            raise UsageError(
                f"{self.path} is finished and was published as {reference}",
                remedy="Fine-tune it with --init, or start a new run under another --name.",
            )
        differences = _differences(toml.read(self.config), config)
        if differences:
            raise UsageError(
                f"{self.config} was written by a run with other settings: {'; '.join(differences)}",
                remedy="Resume with the same settings, or start a new run under another --name.",
            )
        if not self.state.exists():
            self.truncate_metrics(0)
            return None
        state = load_state(self.state)
        self.truncate_metrics(state["iteration"])
        return state

    def finish(self, reference: str) -> None:
        """Note that the run was published as NAME@VERSION. Raises OutputError."""
        write_text(self.published, f"{reference}\n", overwrite=True)

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one line to the metrics. Raises OutputError."""
        with output_errors(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")

    def truncate_metrics(self, iterations: int) -> None:
        """Forget the lines of iterations that the state has not seen, and a line that was cut short."""
        if not self.metrics.exists():
            return
        lines = self.metrics.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _iteration_of(line) <= iterations]
        write_text(self.metrics, "".join(f"{line}\n" for line in kept), overwrite=True)

    def save_state(self, state: dict[str, Any]) -> None:
        """Replace the state. Raises OutputError."""
        save_state(self.state, state)


def _iteration_of(line: str) -> float:
    try:
        return json.loads(line)["iteration"]
    except json.JSONDecodeError:
        return float("inf")


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in sorted((before.keys() | now.keys()) - _FREE):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} was {old!r} and is {new!r}")
    return found
