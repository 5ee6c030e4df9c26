"""The folder that `flarekit bench segment` leaves: every number, every sample, the curves as a picture, the masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flarekit import files
from flarekit.bench.efficiency import CaseCost
from flarekit.bench.efficiency_plot import draw_efficiency
from flarekit.errors import OutputError

FORMAT = {"format": "flarekit-efficiency", "version": 1}
MASKS, NUMBERS, PICTURE = "masks", "efficiency.json", "efficiency.png"


@contextmanager
def results_folder(target: Path | None) -> Iterator[Path]:
    """A folder to work in, which becomes `target` when the block ends well and is removed otherwise.

    Without a target it is always removed. Raises OutputError where the target exists or cannot be written.
    """
    if target is None:
        with TemporaryDirectory() as name:
            yield Path(name)
        return
    if target.exists() or target.is_symlink():
        raise OutputError("exists already", where=target, remedy="Name a new folder with -o.")
    with files.atomic_folder(target) as folder:
        yield folder


def write_results(folder: Path, result: Mapping[str, Any], costs: Sequence[CaseCost], title: str) -> None:
    """Write the result with every case's samples, and the picture of them. Raises OutputError."""
    entries = [cost.to_json() | {"samples": cost.curves()} for cost in costs]
    files.write_json(folder / NUMBERS, {**FORMAT, **result, "cases": entries})
    draw_efficiency(folder / PICTURE, costs, title)
