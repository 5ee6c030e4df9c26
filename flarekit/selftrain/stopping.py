"""When there is no further round."""

from __future__ import annotations

from collections.abc import Sequence

from flarekit.config.selftrain import RoundsConfig
from flarekit.selftrain.state import RoundState


def reason_to_stop(rounds: Sequence[RoundState], config: RoundsConfig, unlabelled: int) -> str | None:
    """Why no round follows these, the last of which has labelled; None when one does.

    `unlabelled` is the number of cases there are to label.
    """
    last = rounds[-1]
    assert last.labels is not None
    if len(rounds) >= config.number:
        return f"all {len(rounds)} rounds are done" if len(rounds) > 1 else "the only round is done"
    if not last.labels.kept:
        return f"no case was trusted in round {last.number}"
    if last.trained_on is not None and last.trained_on.kept >= unlabelled:
        return f"every one of the {unlabelled} unlabelled cases was used in round {last.number}"
    if config.patience is not None and (stale := rounds_without_gain(rounds)) >= config.patience:
        return f"validation Dice has not risen for {stale} round{'s' if stale > 1 else ''}"
    return None


def best_round(rounds: Sequence[RoundState]) -> RoundState | None:
    """The round with the highest validation Dice, of equals the first; None when none is known."""
    known = [each for each in rounds if each.dice is not None]
    return max(known, key=lambda each: (each.dice, -each.number), default=None)


def rounds_without_gain(rounds: Sequence[RoundState]) -> int:
    """How many rounds there were since the best one; none where a round's validation Dice is not known."""
    best = best_round(rounds)
    if best is None or any(each.dice is None for each in rounds):
        return 0
    return rounds[-1].number - best.number
