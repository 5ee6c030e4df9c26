"""The quality report of a case: one HTML page that needs no network and no other file.

Tables and plots are drawn here and need no script; the viewer of the slices is `assets/*.js`. No path and no patient
tag is on the page, only the CT's file name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flarekit.errors import OutputError
from flarekit.files import refuse_existing, require_writable, write_text
from flarekit.labels import LabelSet
from flarekit.report.by_slice import areas_px
from flarekit.report.flags import flag_list
from flarekit.report.markup import asset, fill, frame
from flarekit.report.organ_facts import organ_facts
from flarekit.report.organ_table import organ_table
from flarekit.report.profiles import profile_section
from flarekit.report.provenance import provenance
from flarekit.report.shown_grid import ShownGrid
from flarekit.report.slice_marks import slice_marks
from flarekit.report.slice_numbers import number_in_file
from flarekit.report.viewer import viewer_data
from flarekit.volumes import Volume

SCRIPTS = ("state.js", "decoding.js", "drawing.js", "words.js", "moving.js", "wiring.js")


@dataclass(frozen=True, kw_only=True)
class ReportCase:
    """A segmented case, as its report shows it."""

    volume: Volume  # int16 HU
    classes: np.ndarray  # uint8 (Z, H, W) on the volume's grid
    labels: LabelSet
    sidecar: Mapping[str, Any] = field(default_factory=dict)  # the JSON beside the mask, as far as there is one
    certainty: np.ndarray | None = None  # (organs, Z) in 0..1: mean winning probability, NaN where there is none
    uncertainty: np.ndarray | None = None  # (organs, Z) in 0..1: mean entropy, NaN where there is none


def write_report(path: Path, case: ReportCase, *, overwrite: bool = False) -> None:
    """Write a case's page. Raises OutputError when it cannot be written."""
    require_html(path)
    write_text(path, page(case), overwrite=overwrite)


def require_html(path: Path) -> None:
    """Raises OutputError when the name is not a page's: to be called before long work."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError("is not the name of a web page", where=path, remedy="Let it end in .html.")


def require_new_page(path: Path, *, overwrite: bool) -> None:
    """Raises OutputError when no page can be made there: to be called before long work."""
    require_html(path)
    refuse_existing(path, overwrite=overwrite)
    require_writable(path)


def page(case: ReportCase) -> str:
    """The page's HTML."""
    volume, sidecar = case.volume, case.sidecar
    references = _slices(volume, [entry["slice"] for entry in sidecar.get("references", ())])
    looked = _slices(volume, [*sidecar.get("sampled", ()), *(sidecar.get("second_pass") or {}).get("slices", ())])
    areas = areas_px(case.classes, len(case.labels.names))
    organs = organ_facts(sidecar, case.labels, areas, volume.voxel_ml, case.certainty)
    script = "".join(asset(name) for name in SCRIPTS)
    main = fill(
        "page.html",
        flags=flag_list(sidecar.get("flags", ()), _classes_found(organs)) if sidecar else "",
        marks=slice_marks(len(volume.array), references, looked),
        organs=f"<section>\n<h2>Organs</h2>\n{organ_table(organs)}\n</section>",
        profiles=profile_section(case.labels, areas, case.certainty, case.uncertainty, references),
        provenance=provenance(sidecar),
    )
    data = viewer_data(volume, case.classes, case.labels, references)
    return frame(title=title(case), subtitle=_subtitle(volume), main=main, script=script, data=data)


def title(case: ReportCase) -> str:
    """What the case is called: its CT's file name."""
    name = case.sidecar.get("image") or (case.volume.path.name if case.volume.path else None)
    return name or "A CT"


def _classes_found(organs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The classes of the organs that the mask holds, by name."""
    return {organ["name"]: organ["class"] for organ in organs if organ["volume_ml"] > 0}


def _subtitle(volume: Volume) -> str:
    depth, height, width = volume.array.shape
    z_mm, h_mm, w_mm = volume.spacing_mm
    size = f"{depth} slices of {height} x {width} pixels, {z_mm:.2f} mm apart, pixels {h_mm:.2f} x {w_mm:.2f} mm"
    grid = ShownGrid.of(volume.array.shape)
    if grid.shape == volume.array.shape:
        return size
    return f"{size}; shown here: {grid.shape[0]} slices of {grid.shape[1]} x {grid.shape[2]} pixels, in 8 bits"


def _slices(volume: Volume, numbers: Sequence[int]) -> list[int]:
    """Canonical slices of a file's slice numbers; those that the volume does not have are left out."""
    return [number_in_file(volume, number) for number in numbers if 0 <= number < len(volume.array)]
