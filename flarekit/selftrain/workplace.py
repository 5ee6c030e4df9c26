"""A run's folder: its settings, the stores, and what every round leaves there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flarekit.config import toml
from flarekit.config.consensus import ConsensusConfig
from flarekit.config.selftrain import SelftrainConfig
from flarekit.config.training import CPSConfig
from flarekit.errors import UsageError
from flarekit.files import write_text
from flarekit.selftrain.state import FILE, RunState, read_state, write_state

# Settings that change when and where things happen, or how long the run goes on, never what a round comes to.
_FREE = frozenset(
    {
        "folder",
        "device",
        "data.workers",
        "rounds.number",
        "rounds.patience",
        "run.device",
        "run.runs",
        "run.tensorboard",
        "training.loop.save_every",
        "training.loop.workers",
        "labelling.workers",
        "labelling.scheduler",
    }
)
# Of what may get further settings: a run that does not say them was made before there were any.
_DEFAULTS = {"training": toml.to_dict(CPSConfig()), "consensus": toml.to_dict(ConsensusConfig())}
_ADDED_LATER = ("control", "test")  # steps after the rounds: a run may be given them when it is done


@dataclass(frozen=True)
class Workplace:
    """Where a run's files lie."""

    folder: Path

    @property
    def config(self) -> Path:
        """Every setting, written when the run starts."""
        return self.folder / "config.toml"

    @property
    def lock(self) -> Path:
        """Held while a process works on the run, and names it."""
        return self.folder / "selftrain.lock"

    @property
    def runs(self) -> Path:
        """The trainings' run folders."""
        return self.folder / "runs"

    @property
    def report(self) -> Path:
        """The table of test scores."""
        return self.folder / "test.md"

    def store(self, role: str) -> Path:
        """The slice store of the labelled, unlabelled or validation cases."""
        return self.folder / "stores" / role

    def labels(self, number: int) -> str:
        """The folder, within this one, of what a round's models labelled."""
        return f"round-{number}"

    def scores(self, checkpoint: str) -> Path:
        """The folder of a checkpoint's test scores, one file a case."""
        return self.folder / "test" / checkpoint

    def open(self, config: SelftrainConfig) -> RunState:
        """The state to go on from; of a new run, and of one that was refused before it did anything, the first one.

        Raises UsageError when the folder holds a run with other settings, InputError when what it holds is damaged,
        OutputError when nothing can be written.
        """
        known = read_state(self.folder) if (self.folder / FILE).exists() else None
        if known is None or known == RunState(name=known.name):
            state = RunState(name=config.name)
            self._write_config(config)
            write_state(self.folder, state)
            return state
        before, now = toml.read(self.config), toml.to_dict(config)
        added = {key: now[key] for key in _ADDED_LATER if key in now and key not in before}
        before = toml.completed(before | added, _DEFAULTS)
        if differences := toml.differences(before, now, free=_FREE):
            raise UsageError(
                f"{self.folder} holds a run with other settings: {'; '.join(differences)}",
                remedy="Go on with the same settings, or name another folder.",
            )
        self._write_config(config)
        return known

    def _write_config(self, config: SelftrainConfig) -> None:
        write_text(self.config, f"{toml.dumps(toml.to_dict(config))}\n", overwrite=True)
