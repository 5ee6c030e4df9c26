"""What commands print: the result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_LEVELS = {-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}


def configure(verbosity: int) -> None:
    """Send flarekit's messages to stderr: -1 warnings only and no progress bars, 0 messages, 1 details too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("flarekit")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(_LEVELS[max(-1, min(verbosity, 1))])
    if verbosity < 0:
        os.environ["TQDM_DISABLE"] = "1"


def emit(result: dict[str, Any], *renderables: Any, as_json: bool) -> None:
    """Print a command's result on stdout: one JSON object, or rich renderables for people."""
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=max(console.width, 120))
    for renderable in renderables:
        console.print(renderable, highlight=False, markup=False, emoji=False, soft_wrap=isinstance(renderable, str))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A rich table of plain text (brackets in a file's name are no markup): first column to the left, others right."""
    result = Table(title=Text(title), title_justify="left", title_style="bold", header_style="bold")
    for index, column in enumerate(columns):
        result.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        result.add_row(*(value if isinstance(value, Text) else Text(_cell(value)) for value in row))
    return result


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
