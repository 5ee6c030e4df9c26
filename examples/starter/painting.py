"""Steps that make what is learned from and what is scored: painted CTs, and real ones as a store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pieces import Step
from study import Study

from flarekit.errors import UsageError

SPLIT = json.loads((Path(__file__).parent / "split.json").read_text(encoding="utf-8"))
TRAIN = (*SPLIT["labelled"], *SPLIT["unlabelled"])


def painting_steps(study: Study) -> list[Step]:
    """The stores that networks learn from and are judged on; the real CTs first, should one not be readable."""
    minutes = study.recipe.paint["minutes"] / 5
    painted = (
        ("train", 3 * minutes, TRAIN, 0),
        ("synthetic", minutes, (), 1000),
        ("unlabelled", minutes / 2, TRAIN, 500),
        ("validation", minutes / 2, SPLIT["validation"], 2000),
    )
    real = [Step(name="preprocess", minutes=1, work=partial(preprocess, study))] if study.cts else []
    return real + [
        Step(name=f"paint-{part}", minutes=expected, work=partial(paint_tissues, study, part, maps, seed))
        for part, expected, maps, seed in painted
    ]


def test_set_step(study: Study) -> Step:
    """The CTs of test_set.sh."""
    return Step(name="paint-test", minutes=study.recipe.paint["test"] / 5, work=partial(paint_test, study))


def preprocess(study: Study) -> None:
    """The real CTs as a store without labels."""
    study.commands.run("preprocess", *study.cts, "-o", "stores/real", "--compression", "gzip")


def paint_tissues(study: Study, part: str, maps: Sequence[str], seed: int) -> None:
    """A store of tissues, compressed as h5py reads it alone."""
    paint = study.recipe.paint
    options = ["--tissues", "--labelled", paint[part], "--compression", "gzip", *paint["options"], "--seed", seed]
    study.commands.run("phantom", f"stores/{part}", *_maps(study, maps), *options, "--workers", study.workers)


def paint_test(study: Study) -> None:
    """CTs on the test anatomies."""
    paint = study.recipe.paint
    options = ["--labelled", paint["test"], *paint["test_options"], "--workers", study.workers]
    study.commands.run("phantom", "test", *_maps(study, SPLIT["test"]), *options)


def _maps(study: Study, names: Sequence[str]) -> list[object]:
    if not names:
        return []
    if study.labels is None:
        raise UsageError("label maps are needed to paint on", remedy="Name their folder with --labels.")
    return [option for name in names for option in ("--labels", study.labels / f"{name}.nii.gz")]
