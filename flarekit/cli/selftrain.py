"""`flarekit selftrain`: rounds of training and pseudo-labelling in turn, and how far they have come."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flarekit.cli import console
from flarekit.cli.options import Json, resolve_device
from flarekit.config.selftrain import SelftrainConfig

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(
    no_args_is_help=True, help="Train, label what is not labelled, add what can be trusted, and train again."
)

RUN_EPILOG = """Example: `flarekit selftrain run selftrain.toml`, where the file holds

`name = "mine"`

`[data] labelled = ["FLARE22Train"]` and `unlabelled = ["more"]` below it, `validation = ["val"]` where there is any

`[rounds] number = 3`, `models = 3`, `start = "previous"` or `"scratch"`, `patience = 1`, `first = ["a@1", ...]`

`[train] arch = "lite"` and any other option of train cps; `[consensus] threshold = 0.9` and any other of pseudolabel

`[control]` trains as long without pseudo-labels; `[test] cases = ["test"]` is scored once, at the end
"""


@app.command(epilog=RUN_EPILOG)
def run(
    config: Annotated[Path, typer.Argument(help="A TOML file; its paths are seen from here.")],
    json: Json = False,
) -> None:
    """Run rounds until all are done, every unlabelled case is used, or validation Dice stops rising.

    A run that was stopped or killed goes on within the step it was in: repeat the line. Checkpoints are called
    NAME-r1-m1 and so on; their cards say which labels they learned from, and from which checkpoint they started.
    """
    from flarekit.checkpoints import Registry
    from flarekit.config.selftrain import read_selftrain
    from flarekit.selftrain.cycle import run_rounds
    from flarekit.selftrain.report import report

    settings = read_selftrain(config)
    state = run_rounds(settings, Registry.default(), resolve_device(settings.device))
    _show(report(settings.folder, state), settings.folder, as_json=json)


@app.command(epilog="Example: `flarekit selftrain status selftrain`")
def status(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR|CONFIG", help="The run's folder, or the TOML file that names it.")
    ] = SelftrainConfig.folder,
    json: Json = False,
) -> None:
    """Show the rounds of a run as a table: models, what was kept, validation and test Dice."""
    from flarekit.config.selftrain import read_selftrain
    from flarekit.selftrain.report import report
    from flarekit.selftrain.state import read_state

    if folder.is_file():
        folder = read_selftrain(folder).folder
    _show(report(folder, read_state(folder)), folder, as_json=json)


def _show(result: dict[str, Any], folder: Path, *, as_json: bool) -> None:
    line = f"{result['name']} in {folder}: {result['step']}."
    if reason := result["ended"]:
        line += f" {reason[0].upper()}{reason[1:]}."
    tables = [_rounds(result)] + ([_test(result["test"])] if result["test"] else [])
    console.emit({"folder": str(folder)} | result, line, *tables, as_json=as_json)


def _rounds(result: dict[str, Any]) -> Table:
    columns = ("round", "step", "models", "learned from", "labelled", "threshold", "validation Dice", "test Dice")
    rows = [_row(each) for each in result["rounds"]]
    if control := result["control"]:
        dice = (control["validation_dice"], control["test_dice"])
        rows.append(("control", "done", _names(control), "0 masks", None, None, *dice))
    return console.table(f"Rounds, {result['unlabelled']} unlabelled cases", columns, rows)


def _row(each: dict[str, Any]) -> tuple[object, ...]:
    learned, labels = each["trained_on"], each["labels"] or {}
    counts = [f"{labels[status]} {status}" for status in ("kept", "rejected", "failed") if labels.get(status)]
    return (
        each["number"],
        "done" if labels else "under way",
        _names(each),
        f"{learned['kept'] if learned else 0} masks",
        "\n".join(counts) or None,
        labels.get("threshold"),
        each["validation_dice"],
        each["test_dice"],
    )


def _names(each: dict[str, Any]) -> str | None:
    return "\n".join(model["checkpoint"] for model in each["models"]) or None


def _test(test: dict[str, Any]) -> Table:
    arms, gains = test["arms"], test["gains"]
    columns = ("organ", *arms, *(f"{gain['of']} over {gain['over']}" for gain in gains))
    rows = [
        (organ, *(arm["dice"][organ] for arm in arms.values()), *(_cell(gain["dice"][organ]) for gain in gains))
        for organ in next(iter(arms.values()))["dice"]
    ]
    return console.table(f"Test Dice of {len(test['cases'])} cases, gains with 95 % intervals", columns, rows)


def _cell(estimate: dict[str, float]) -> str:
    return f"{estimate['mean']:+.3f} ({estimate['low']:+.3f} to {estimate['high']:+.3f})"
