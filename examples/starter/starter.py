"""Makes the starter weights: paints, trains a pair for every seed and the STCN, publishes and scores them.

    python examples/starter/starter.py --labels LABELS --out OUT [--cts CT ...] [--score CT LABELS] [--plan]

LABELS is the folder of FLARE22's 50 label maps; split.json says which are trained on, tuned on and scored. It goes on
where it was stopped: run the same line again. With --budget-minutes it stops by itself, between steps or within one,
and says what is left. README.md tells more.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from painting import painting_steps, test_set_step
from pieces import Clock, Ledger, Step, run
from recipe import Recipe
from scoring import scoring_steps
from study import Study
from trainings import training_steps

from flarekit.errors import FlarekitError, UsageError

HERE = Path(__file__).parent
UNFINISHED = 75  # the exit code for "try again" of sysexits.h


def steps_of(study: Study, *, only: Sequence[str] = (), until: str | None = None) -> list[Step]:
    """Everything there is to do, in order; with `only`, what these networks need and what can be said of them.

    `until` names the step to stop before. Raises UsageError where there is none of that name, or no such network.
    """
    steps = [*painting_steps(study), *training_steps(study), test_set_step(study), *scoring_steps(study)]
    if unknown := [name for name in only if name not in study.networks]:
        raise UsageError(f"no network is called {unknown[0]!r}", remedy=f"One of {', '.join(study.networks)}.")
    steps = [step for step in steps if not only or set(step.networks) <= set(only)]
    names = [step.name for step in steps]
    if until is not None and until not in names:
        raise UsageError(f"no step is called {until!r}", remedy=f"One of {', '.join(names)}.")
    return steps if until is None else steps[: names.index(until)]


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for everything that is made")
    add("--labels", type=Path, help="folder of the label maps that split.json names; not needed once painted")
    add("--cts", type=Path, action="append", default=[], help="a real CT without labels to learn from; repeatable")
    add("--credit", action="append", default=[], help="where they are from and under which licence; repeatable")
    add("--score", type=Path, nargs=2, metavar=("CT", "MASK"), help="a real CT and its label map, to score on")
    add("--recipe", type=Path, default=HERE / "recipe.toml", help="what is trained, and for how long")
    add("--only", action="append", default=[], metavar="NETWORK", help="make this one alone in this call; repeatable")
    add("--init", action="store_true", help="start the first pair and the STCN from the weights in the package")
    add("--budget-minutes", type=float, help="stop after so long; the next call goes on")
    add("--device", default="cpu", help="where to train: cpu, cuda")
    add("--workers", type=int, default=2, help="processes that paint, and beside a GPU also load slices")
    add("--threads", type=int, help="CPU threads of torch; all cores without it")
    add("--until", help="stop before this step: paint-test, where volumes cannot be read")
    add("--plan", action="store_true", help="print the steps with their times, and do nothing")
    return parser.parse_args(argv)


def study_of(asked: argparse.Namespace) -> Study:
    """What the command line asks to be made. Raises InputError on a recipe that is none."""
    return Study(
        recipe=Recipe.read(asked.recipe),
        labels=asked.labels and asked.labels.resolve(),
        out=asked.out.resolve(),
        cts=tuple(ct.resolve() for ct in asked.cts),
        credits=tuple(asked.credit),
        score=asked.score and tuple(path.resolve() for path in asked.score),
        device=asked.device,
        workers=asked.workers,
        threads=asked.threads,
        from_packaged=asked.init,
        clock=Clock(None if asked.budget_minutes is None else 60 * asked.budget_minutes),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all is done that was asked for, 75 when the budget ended before; the code of the error otherwise."""
    asked = arguments_of(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the commands that it started are stopped with it
    try:
        study = study_of(asked)
        steps = steps_of(study, only=asked.only, until=asked.until)
        ledger = Ledger(study.out / "steps")
        finished = asked.plan or _make(study, steps, ledger)
        print(ledger.plan(steps), flush=True)
    except FlarekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0 if finished else UNFINISHED


def _make(study: Study, steps: Sequence[Step], ledger: Ledger) -> bool:
    study.out.mkdir(parents=True, exist_ok=True)
    study.begin()
    os.environ["FLAREKIT_HOME"] = str(study.out / "home")  # where the checkpoints of all stages lie
    return run(steps, ledger, study.clock)


if __name__ == "__main__":
    sys.exit(main())
