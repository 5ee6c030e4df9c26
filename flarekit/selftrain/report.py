"""What a run of rounds says of itself: its rounds, and the test where there was one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from flarekit.evaluation import CaseScores
from flarekit.selftrain import comparison
from flarekit.selftrain.comparison import Arm, Gain
from flarekit.selftrain.state import RunState, TrainedModel, mean_dice
from flarekit.selftrain.stopping import best_round
from flarekit.selftrain.testing import read_scores
from flarekit.selftrain.workplace import Workplace

CONTROL = "control"


def report(folder: Path, state: RunState) -> dict[str, Any]:
    """A plain dictionary of everything that is known, for people and programs. Raises InputError on damaged scores."""
    arms = tested_arms(state, Workplace(folder))
    best = best_round(state.rounds)
    return {
        "name": state.name,
        "step": state.step,
        "ended": state.ended,
        "unlabelled": state.unlabelled,
        "rounds": [_round(state, index, arms) for index in range(len(state.rounds))],
        "best_round": best.number if best else None,
        "control": _control(state, arms),
        "test": comparison.to_json(arms, gains_of(arms)) | {"cases": list(state.test_cases)} if arms else None,
    }


def tested_arms(state: RunState, place: Workplace) -> dict[str, Arm]:
    """Every round, and the control, on the test cases; nothing before these were scored."""
    if not state.test_cases:
        return {}
    models = {f"round {each.number}": each.models for each in state.rounds}
    if state.control is not None:
        models[CONTROL] = state.control.models
    return {name: comparison.arm_of([_scores(model, state, place) for model in each]) for name, each in models.items()}


def gains_of(arms: dict[str, Arm]) -> list[Gain]:
    """What the last round gains over the first, and over the control."""
    rounds = [name for name in arms if name != CONTROL]
    rivals = rounds[:1] if len(rounds) > 1 else []
    rivals += [CONTROL] if CONTROL in arms else []
    return [comparison.gain(arms, rounds[-1], over) for over in rivals]


def _round(state: RunState, index: int, arms: dict[str, Arm]) -> dict[str, Any]:
    each = state.rounds[index]
    return asdict(each) | {"validation_dice": each.dice} | _tested(arms.get(f"round {each.number}"))


def _control(state: RunState, arms: dict[str, Arm]) -> dict[str, Any] | None:
    if state.control is None:
        return None
    return asdict(state.control) | {"validation_dice": mean_dice(state.control.models)} | _tested(arms.get(CONTROL))


def _tested(arm: Arm | None) -> dict[str, float | None]:
    """The mean test Dice of an arm, and the standard deviation of its models'."""
    return {"test_dice": arm.dice[comparison.MEAN] if arm else None, "test_spread": arm.spread if arm else None}


def _scores(model: TrainedModel, state: RunState, place: Workplace) -> list[CaseScores]:
    return read_scores(model.checkpoint, state.test_cases, place)
