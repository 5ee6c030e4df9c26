"""`flarekit demo`: the whole chain on a painted case, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flarekit.cli import console
from flarekit.cli.options import Device, Json, Overwrite, resolve_device

if TYPE_CHECKING:
    from flarekit.demo import DemoResult


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A new folder for CT, truth, mask and preview.")
    ] = Path("flarekit-demo"),
    device: Device = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Paint a CT of a made-up patient, segment it with the starter weights, and score the mask.

    Needs no network and no GPU. The patient is synthetic: the Dice says that the installation works, not how
    well real CTs are segmented.
    """
    from flarekit.demo import run_demo

    result = run_demo(output, resolve_device(device), overwrite=overwrite)
    total_s = sum(result.seconds.values())
    report = _report(result)
    rows = [(n, o["dice"], f"{o['volume_ml']:.1f}", o["confidence"]) for n, o in report["organs"].items()]
    rows.append(("mean", result.scores.mean, "", ""))
    table = console.table("A painted patient", ("organ", "Dice", "mL", "confidence"), rows)
    done = f"Wrote {', '.join(result.files)} to {output}/ in {total_s:.0f} s. Look at {output / 'mask_preview.png'}."
    console.emit(report, table, done, as_json=json)


def _report(result: DemoResult) -> dict[str, Any]:
    organs = {
        organ.name: {
            "dice": result.scores.dice[organ.name],
            "volume_ml": round(organ.volume_ml, 1),
            "confidence": organ.confidence,
        }
        for organ in result.segmentation.organs
    }
    return {
        "mean_dice": result.scores.mean,
        "organs": organs,
        "files": list(result.files),
        "seconds": {stage: round(seconds, 2) for stage, seconds in result.seconds.items()},
    }
