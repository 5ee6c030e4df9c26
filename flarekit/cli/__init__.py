"""The command line: thin commands over the library, one boundary where errors become exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flarekit.errors import FlarekitError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code comes back (see flarekit.errors for the codes)."""
    from flarekit.cli.commands import app

    try:
        app(args=None if arguments is None else list(arguments), prog_name="flarekit")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except FlarekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
