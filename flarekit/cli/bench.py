"""`flarekit bench`: how fast, and in how much memory, on this machine."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine, beside a floor or a rival.")
