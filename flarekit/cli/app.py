"""The Typer application: global options and every command's name."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from flarekit import __version__
from flarekit.cli import console

app = typer.Typer(
    name="flarekit",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with `flarekit demo`. Every command explains itself with --help.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"flarekit {__version__}")
        raise typer.Exit


@app.callback()
def flarekit(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Details too.")] = False,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads to use; all cores without it.")
    ] = None,
) -> None:
    """Organ segmentation of abdominal CTs for labs with many scans and few labels.

    Train on both, label the rest, know which labels to trust, fix a few slices and have the fix carried through.
    Research software: not a medical device.
    """
    console.configure(verbosity=int(verbose) - int(quiet))
    if threads is not None:
        _limit_threads(threads)


def _limit_threads(threads: int) -> None:
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
