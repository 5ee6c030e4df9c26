"""The picture of an evaluation."""

from __future__ import annotations

from pathlib import Path


def require_plot(plot: Path | None, *, overwrite: bool) -> None:
    """Raises OutputError where no PNG can be written there: before long work."""
    from flarekit.report.overlay import require_new_png

    if plot is not None:
        require_new_png(plot, overwrite=overwrite)
