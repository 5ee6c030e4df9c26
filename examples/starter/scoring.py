"""Steps that score published networks, alone and together, and keep what was found as JSON and as a table."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from pieces import Step
from scores import markdown
from study import PAIR, STCN, Study

from flarekit.files import write_json, write_text

EVERY = "5,10,20"  # slices between annotated ones that propagation is scored at
TEST = Path("test", "labelled", "images"), Path("test", "labelled", "labels")


def scoring_steps(study: Study) -> list[Step]:
    """Of the test set and of the real CT: the pair alone, the pair with propagation, and propagation alone."""
    parts = [("test", study.recipe.paint["test"] * 1.0), *([("real", 1.7)] if study.score else [])]
    kinds = (
        ("reference", partial(score_masks, study, "reference", "--no-propagation"), (PAIR,)),
        ("full", partial(score_masks, study, "full"), (PAIR, STCN)),
        ("propagation", partial(score_propagation, study), (STCN,)),
    )
    return [
        Step(name=f"score-{part}-{kind}", minutes=minutes, work=partial(score, study, work, part), networks=networks)
        for part, minutes in parts
        for kind, work, networks in kinds
    ]


def score(study: Study, work: partial[None], part: str) -> None:
    """Do the work on a part, and write the results anew. Raises UsageError for a real CT that was learned from."""
    if part == "real":
        study.refuse_scored()
        study.keep_scored()
    work(part=part)
    write_results(study)


def score_masks(study: Study, kind: str, *options: str, part: str) -> None:
    """Dice and NSD of `segment`, by the published pair and STCN."""
    (ct, truth), organs = files_of(study, part), organs_option(study, part)
    masks = f"masks/{kind}" if part == "test" else f"masks/{part}_{kind}.nii.gz"
    if part == "test" or not (study.out / masks).is_file():  # of a folder, masks that are there are left as they are
        models = ("--model", PAIR, "--propagation-model", STCN, "--device", study.device)
        study.commands.run("segment", ct, "-o", masks, *models, *options, published=True)
    found = study.commands.run("evaluate", "masks", masks, truth, *organs)
    write_json(study.out / "scores" / f"{part}_{kind}.json", json.loads(found), overwrite=True)


def score_propagation(study: Study, *, part: str) -> None:
    """Dice between annotated slices by the published STCN, case by case: what is scored already is kept."""
    from flarekit.evaluation.cases import labelled_cases
    from flarekit.evaluation.comparison import mean_of_cases

    options = ("--model", STCN, "--device", study.device, "--every", EVERY)
    options += ("--offsets", "1") if part == "test" else ()
    reports = []
    for pair in labelled_cases(*(study.out / path for path in files_of(study, part))):
        kept = study.out / "scores" / "cases" / f"{part}_propagation_{pair.name}.json"
        if not kept.is_file():
            case = (pair.predicted, pair.true)
            found = study.commands.run("evaluate", "propagation", *case, *options, published=True)
            write_json(kept, json.loads(found))
        reports.append(json.loads(kept.read_text(encoding="utf-8")))
    means = {"cases": reports, "results": mean_of_cases(reports)}
    write_json(study.out / "scores" / f"{part}_propagation.json", means, overwrite=True)


def write_results(study: Study) -> None:
    """Every score so far as results.md."""
    tables = [
        markdown(path.stem.replace("_", ", "), json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(study.out.glob("scores/*.json"))
    ]
    write_text(study.out / "results.md", "\n\n".join(tables) + "\n", overwrite=True)
    print(f"wrote {study.out / 'results.md'}", flush=True)


def files_of(study: Study, part: str) -> tuple[Path, Path]:
    """The CTs and label maps of the test set, or the real CT and its label map."""
    if part == "test":
        return TEST
    assert study.score is not None  # or there is no such step
    return study.score


def organs_option(study: Study, part: str) -> tuple[str, ...]:
    """Which organs are scored: of a real CT, those of FLARE22 that its label map has voxels of."""
    import numpy as np

    from flarekit.labels import FLARE22
    from flarekit.volumes import read_labels

    if part == "test":
        return ()
    truth = files_of(study, part)[1]
    found = np.unique(FLARE22.to_classes(read_labels(truth).array, where=truth))
    return "--organs", ",".join(name for index, name in enumerate(FLARE22.names, start=1) if index in found)
