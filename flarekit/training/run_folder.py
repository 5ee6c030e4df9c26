"""A run's folder: its settings, its metrics, the weights it keeps, and the state that a killed run goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flarekit.checkpoints import load_state, save_state
from flarekit.checkpoints.weights import SUFFIX
from flarekit.config import toml
from flarekit.errors import OutputError, UsageError
from flarekit.files import output_errors, write_text

# Settings that change when and where things happen, never what is learned. That a store holds the same cases,
# wherever it lies now, is seen by their hash.
_FREE = frozenset(
    {
        "device",
        "runs",
        "tensorboard",
        "stores.labelled",
        "stores.unlabelled",
        "stores.pseudo_labels",
        "stores.validation",
        "training.loop.save_every",
        "training.loop.workers",
    }
)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting, written when the run starts; `--config` reads it."""
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
        return self.path / f"best{SUFFIX}"

    @property
    def last(self) -> Path:
        """Weights after the last iteration."""
        return self.path / f"last{SUFFIX}"

    @property
    def curves(self) -> Path:
        """A picture of the metrics, drawn when the run ends."""
        return self.path / "curves.png"

    @property
    def lock(self) -> Path:
        """Held while a process trains the run, and names it."""
        return self.path / "run.lock"

    @property
    def published(self) -> Path:
        """Names the checkpoint that a finished run was published as."""
        return self.path / "published.txt"

    def begin(self, config: dict[str, Any], *, unset: Sequence[str] = ()) -> None:
        """Make the folder of a new run; settings that are `unset` are named in a comment of its configuration.

        Raises OutputError when there is one already, or it cannot be written.
        """
        if self.path.exists():
            raise OutputError(
                "exists already", where=self.path, remedy="Pass --resume to go on, or choose another --name."
            )
        with output_errors(self.path):
            self.path.mkdir(parents=True)
        comment = f"# Not set: {', '.join(unset)}.\n" if unset else ""
        write_text(self.config, f"{comment}{toml.dumps(config)}\n")

    def require_same(self, config: dict[str, Any], *, defaults: Mapping[str, Any] | None = None) -> None:
        """Raises UsageError when the run was started with another configuration, InputError when there is no run.

        A setting that the run's file lacks, as it was written before there was one, counts as in `defaults`.
        """
        differences = toml.differences(toml.completed(toml.read(self.config), defaults or {}), config, free=_FREE)
        if differences:
            raise UsageError(
                f"{self.config} was written by a run with other settings: {'; '.join(differences)}",
                remedy="Resume with the same settings, or start a new run under another --name.",
            )

    def published_as(self) -> str | None:
        """NAME@VERSION of a run that is finished, None of one that is not."""
        return self.published.read_text(encoding="utf-8").strip() if self.published.exists() else None

    def last_state(self) -> dict[str, Any] | None:
        """The state to go on from, None when the run was stopped before its first. Raises CheckpointError."""
        return load_state(self.state) if self.state.exists() else None

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
