"""`flarekit evaluate masks`: label maps against the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flarekit import files
from flarekit.cli import console
from flarekit.cli.evaluate.plot import require_plot
from flarekit.cli.options import Json, LabelsFile, Overwrite, Workers, label_set
from flarekit.errors import InputError, PartialFailure, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from flarekit.evaluation.cases import FailedCase
    from flarekit.evaluation.dice import CaseScores
    from flarekit.evaluation.rules import ScoringRules
    from flarekit.labels import LabelSet


def masks(
    predicted: Annotated[Path, typer.Argument(help="A predicted label map, or a folder of them.")],
    truth: Annotated[Path, typer.Argument(help="The true one, or a folder of them.")],
    dataset: LabelsFile = None,
    organs: Annotated[
        str | None, typer.Option("--organs", help="Score these alone, as liver,spleen: a truth may lack labels.")
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(
            "--tolerance",
            help="How far a surface may be off for NSD, mm: 2, or liver=5,spleen=3. FLARE22's for organs of its names.",
        ),
    ] = None,
    flare22: Annotated[
        bool,
        typer.Option(
            "--flare22",
            help="FLARE22's official numbers, oddities and all: the last labelled slice of aorta, vena cava and "
            "esophagus left out, NSD 0 where Dice lies below 0.2.",
        ),
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every case's scores to this file too.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the organs' table to this file too.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a box plot of every organ to this PNG.")] = None,
    workers: Workers = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Dice and normalised surface Dice (NSD) of every organ and case, with 95 % intervals by bootstrap over cases.

    An organ absent from both masks scores 1, from one of them 0. Aorta, inferior vena cava and esophagus are scored
    from their first to their last labelled slice, as FLARE22 says. Organs that the dataset.json does not list under
    "labelled_organs" for a case are not scored in it; voxels that the truth calls "ignore" do not count. A case whose
    masks lie on different grids is not resampled but listed as failed.
    """
    from flarekit.data.layouts import LabelledOrgans
    from flarekit.evaluation.cases import pair_cases, score_pairs
    from flarekit.evaluation.rules import ScoringRules
    from flarekit.evaluation.tables import scores_to_json

    targets = _Targets(csv=csv, markdown=markdown, plot=plot, overwrite=overwrite)
    targets.check()
    labels = label_set(dataset)
    rules = ScoringRules.of(labels, tolerance, official=flare22)
    labelled = LabelledOrgans.read(dataset, labels) if dataset is not None else None
    results = score_pairs(pair_cases(predicted, truth), labels, labelled, rules, workers=workers)
    scores, failed = _sorted_out(results, labels, organs)
    targets.write(scores, rules)
    scoring = {"rules": "flare22" if flare22 else "corrected", "tolerance_mm": dict(rules.tolerance_mm)}
    failures = [{"case": case.case, "error": case.error} for case in failed]
    report = scores_to_json(scores) | {"scoring": scoring, "failed": failures}
    console.emit(report, *_tables(scores, failed), *_hints(scores), as_json=json)
    if failed:
        raise PartialFailure(f"{len(failed)} of {len(results)} cases could not be scored, the first: {_first(failed)}")


@dataclass(frozen=True, kw_only=True)
class _Targets:
    """The files that the scores are written to."""

    csv: Path | None
    markdown: Path | None
    plot: Path | None
    overwrite: bool

    def check(self) -> None:
        """Raises OutputError where one of them cannot be written: before long work."""
        for target in (self.csv, self.markdown):
            if target is not None:
                files.refuse_existing(target, overwrite=self.overwrite)
                files.require_writable(target)
        require_plot(self.plot, overwrite=self.overwrite)

    def write(self, scores: Sequence[CaseScores], rules: ScoringRules) -> None:
        from flarekit.evaluation.boxes import draw_boxes
        from flarekit.evaluation.tables import scores_to_csv, scores_to_markdown

        if self.csv is not None:
            files.write_text(self.csv, scores_to_csv(scores), overwrite=self.overwrite)
        if self.markdown is not None:
            files.write_text(self.markdown, scores_to_markdown(scores, rules), overwrite=self.overwrite)
        if self.plot is not None:
            draw_boxes(self.plot, scores, overwrite=self.overwrite)


def _sorted_out(
    results: Sequence[CaseScores | FailedCase], labels: LabelSet, organs: str | None
) -> tuple[list[CaseScores], list[FailedCase]]:
    """The scores of the wanted organs, and the cases that failed. Raises where nothing is left to report."""
    from flarekit.evaluation.cases import FailedCase

    wanted = {labels.names[c - 1] for c in labels.parse(organs)}
    failed = [result for result in results if isinstance(result, FailedCase)]
    if len(failed) == len(results):
        raise InputError(f"none of {len(results)} cases could be scored, the first: {_first(failed)}")
    scores = [result.only(wanted) for result in results if not isinstance(result, FailedCase)]
    scores = [case for case in scores if case.dice]
    if not scores:
        raise UsageError("no case is labelled for these organs", remedy="Leave out --organs, or name others.")
    return scores, failed


def _first(failed: Sequence[FailedCase]) -> str:
    return failed[0].error.rstrip(".")


def _tables(scores: Sequence[CaseScores], failed: Sequence[FailedCase]) -> list[Table]:
    from flarekit.evaluation.tables import summary_rows

    rows = [
        (name, str(dice), dice.interval_text, *(("-", "-") if nsd is None else (str(nsd), nsd.interval_text)))
        for name, dice, nsd in summary_rows(scores)
    ]
    columns = ("organ", "Dice", "95 % interval", "NSD", "95 % interval")
    tables = [
        console.table(f"{len(scores)} case(s)", columns, rows),
        console.table("Mean over organs", ("case", "Dice", "NSD"), [(s.case, s.mean, s.mean_nsd) for s in scores]),
    ]
    if failed:
        tables.append(console.table("Not scored", ("case", "why"), [(case.case, case.error) for case in failed]))
    return tables


def _hints(scores: Sequence[CaseScores]) -> Iterator[str]:
    """What people ask of the tables."""
    from flarekit.evaluation.dice import never_in_truth

    if organs := never_in_truth(scores):
        yield (
            f"Drawn, and nowhere in the truth: {', '.join(organs)}. That counts as 0. "
            "If the truth lacks their labels, name the organs to score (--organs), or what a case is labelled for: "
            '"labelled_organs" in the dataset.json.'
        )
    if len(scores) == 1:
        yield "Intervals are over cases: there are none of a single one."
