"""`flarekit docker`: what a challenge's organisers ask for."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import Challenge, Json
from flarekit.cli.segment_options import Model, NoPropagation, PropagationModel


def docker(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the build context.")],
    model: Model = "starter-reference",
    propagation_model: PropagationModel = "starter-propagation",
    no_propagation: NoPropagation = False,
    challenge: Challenge = False,
    json: Json = False,
) -> None:
    """Write a folder to build a container image from, for FLARE's organisers or for a server of your own.

    Dockerfile, predict.sh (reads /workspace/inputs, writes /workspace/outputs), the weights, flarekit as it is
    installed here, and the versions of all packages it runs with here; README.md has the commands to build, save and
    run. With --challenge the container refuses weights against the rules too, and writes FLARE22's label ids.
    """
    from flarekit.checkpoints import Registry
    from flarekit.docker.context import Image, write_context

    registry = Registry.default()
    image = Image.of(registry, model, None if no_propagation else propagation_model, challenge=challenge)
    names = write_context(folder, image, registry)
    rows = [(name, f"{(folder / name).stat().st_size / 1e6:.2f}") for name in names]
    checkpoints = [card.reference for card in image.cards]
    result = {"folder": str(folder), "checkpoints": checkpoints, "challenge": challenge, "files": names}
    table = console.table(f"Build context with {' and '.join(checkpoints)}", ("file", "MB"), rows)
    console.emit(result, table, f"Next: docker build -t team:latest {quote(str(folder))}", as_json=json)
