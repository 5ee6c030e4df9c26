"""How far a run of rounds has come, and what came of what: the ledger of its rounds, in `rounds.json`.

It is replaced as a whole after every step. What is under way has left its own traces in its own folder (a training its
state, a labelling its ledger), so that a run that was killed goes on within the step it was in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flarekit.config import toml
from flarekit.errors import InputError
from flarekit.files import write_json

FILE = "rounds.json"
FORMAT, VERSION = "flarekit-selftrain", 1


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A checkpoint of a round, and where it came from."""

    checkpoint: str  # NAME@VERSION
    started_from: str | None = None  # the checkpoint it was fine-tuned from; None: random weights, or a given one
    dice: float | None = None  # of its best validation, from its card


def mean_dice(models: Sequence[TrainedModel]) -> float | None:
    """The mean validation Dice of the models; None where there is none, or one of them has none."""
    known = [model.dice for model in models if model.dice is not None]
    return sum(known) / len(known) if known and len(known) == len(models) else None


@dataclass(frozen=True, kw_only=True)
class RoundLabels:
    """What a round's models made of the unlabelled cases."""

    folder: str  # within the run's folder
    ledger_sha256: str
    threshold: float  # the score that a case, or an organ of it, was kept with
    kept: int
    rejected: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class RoundState:
    """One round."""

    number: int  # from 1
    trained_on: RoundLabels | None = None  # the pseudo-labels that its models learned from; None in the first round
    models: tuple[TrainedModel, ...] = ()  # those that are finished
    labels: RoundLabels | None = None  # what its models labelled; None until that is done

    @property
    def dice(self) -> float | None:
        """The mean validation Dice of its models; None where a card says none."""
        return mean_dice(self.models)


@dataclass(frozen=True, kw_only=True)
class Control:
    """Models that learned as long without pseudo-labels, and how much of what."""

    rounds: int  # that they stand beside
    models: tuple[TrainedModel, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run of rounds."""

    name: str
    step: str = "not started"  # what is, or was last, under way, in words
    stored: bool = False  # whether the slice stores are complete
    unlabelled: int = 0  # unlabelled cases that could be stored
    rounds: tuple[RoundState, ...] = ()
    ended: str | None = None  # why there is no further round; None while there may be
    control: Control | None = None
    test_cases: tuple[str, ...] = ()  # that every round's models, and the control's, were scored on; none before that

    def with_round(self, changed: RoundState) -> RunState:
        """The state with this round in place of the one of its number, or after the last."""
        others = tuple(known for known in self.rounds if known.number != changed.number)
        return replace(self, rounds=tuple(sorted((*others, changed), key=lambda each: each.number)))


def read_state(folder: Path) -> RunState:
    """The state in a run's folder. Raises InputError when there is none, or it is damaged."""
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        stated = (data.pop("format"), data.pop("version"))
        if stated != (FORMAT, VERSION):
            raise ValueError(f"unknown format {stated[0]} version {stated[1]}")
        return toml.from_dict(RunState, data)
    except FileNotFoundError as error:
        raise InputError(
            f"holds no {FILE}: no run of rounds was started there",
            where=folder,
            remedy="Name the folder that the run's TOML file does, or start it with `flarekit selftrain run`.",
        ) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path, remedy="Check the path.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"does not describe a run of rounds ({error})",
            where=path,
            remedy="Start the run in another folder, or update flarekit if a newer one wrote it.",
        ) from error


def write_state(folder: Path, state: RunState) -> None:
    """Replace the state in a run's folder. Raises OutputError."""
    data = {"format": FORMAT, "version": VERSION} | toml.to_dict(state)
    write_json(folder / FILE, data, overwrite=True)
