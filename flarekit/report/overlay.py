"""A figure of a mask over its CT: the axial slices that show most organs, a coronal cut, and a legend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flarekit.config.preprocessing import window_range
from flarekit.errors import OutputError
from flarekit.files import atomic_path, refuse_existing, require_writable
from flarekit.labels import LabelSet
from flarekit.report.slice_numbers import number_in_file
from flarekit.volumes import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIAL_SLICES = 3
INCH_PER_MM = 0.0115  # the scale of the figure
LEGEND_MM = 160.0  # height the legend needs
WINDOW_HU = window_range(50, 400)  # the abdomen window
FILL, EDGE = 0.38, 0.95  # opacity of an organ's area and of its outline
BACKGROUND, TEXT, MUTED = "#101216", "#e8eaed", "#8b9199"
# Neighbouring organs differ in hue; the order is FLARE22's, further organs start over in other shades.
COLOURS = (
    "#c8693c",
    "#ffd23f",
    "#8e5bd0",
    "#2ec4b6",
    "#ef3e4a",
    "#3d8bfd",
    "#f29cb7",
    "#b8f35a",
    "#3fae49",
    "#e0c3fc",
    "#ff9f1c",
    "#5ce1e6",
    "#f4f1a6",
)
SHADES = ((0, 0.0), (0, 0.4), (255, 0.55), (0, 0.65))  # a grey level, and how far the colours go towards it


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One cut through the volume, rows downwards and the patient's right on the left."""

    title: str
    hu: np.ndarray  # int16 (rows, columns)
    classes: np.ndarray  # uint8 (rows, columns)
    pixel_mm: tuple[float, float]  # (rows, columns)
    sides: tuple[str, str, str, str]  # what lies left, right, up and down

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width."""
        return self.hu.shape[0] * self.pixel_mm[0], self.hu.shape[1] * self.pixel_mm[1]


def draw_overlay(path: Path, volume: Volume, classes: np.ndarray, labels: LabelSet, *, overwrite: bool = False) -> None:
    """Write a PNG of `classes` (Z, H, W) over the CT. Raises OutputError when it cannot be written."""
    require_png(path)
    figure = _figure(panels(volume, classes), classes, labels, volume.voxel_ml)
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=130, facecolor=BACKGROUND)


def require_png(path: Path) -> None:
    """Raises OutputError when the name is not a PNG's: to be called before long work."""
    if path.suffix.lower() != ".png":
        raise OutputError("is not the name of a PNG", where=path, remedy="Let it end in .png.")


def require_new_png(path: Path, *, overwrite: bool) -> None:
    """Raises OutputError when no PNG can be made there: to be called before long work."""
    require_png(path)
    refuse_existing(path, overwrite=overwrite)
    require_writable(path)


def panels(volume: Volume, classes: np.ndarray) -> list[Panel]:
    """The axial slices and the coronal cut that the figure shows."""
    dz, dh, dw = volume.spacing_mm
    rows, columns = _body(volume.array)
    axial = [
        Panel(
            title=f"slice {number_in_file(volume, z)}  ({volume.z_mm(z):.0f} mm)",
            hu=volume.array[z, rows, columns],
            classes=classes[z, rows, columns],
            pixel_mm=(dh, dw),
            sides=("R", "L", "A", "P"),
        )
        for z in informative(classes, AXIAL_SLICES, axis=0)
    ]
    (row,) = informative(classes, 1, axis=1)
    coronal = Panel(
        title=f"coronal, row {row}",
        hu=volume.array[::-1, row, columns],
        classes=classes[::-1, row, columns],
        pixel_mm=(dz, dw),
        sides=("R", "L", "H", "F"),
    )
    return [*axial, coronal]


def informative(classes: np.ndarray, count: int, *, axis: int) -> list[int]:
    """At most `count` positions along an axis, ascending, that together show every organ near its largest.

    Chosen greedily: the next one adds most to the sum over organs of the largest share of its largest cut shown
    so far. Evenly spread when there is no organ.
    """
    present = [c for c in np.unique(classes) if c]
    if not present:
        depth = classes.shape[axis]
        return sorted({depth * (i + 1) // (count + 1) for i in range(count)})
    others = tuple(a for a in range(3) if a != axis)
    areas = np.array([(classes == c).sum(axis=others) for c in present], dtype=np.float64)
    shares = areas / areas.max(axis=1, keepdims=True)
    shown = np.zeros((len(present), 1))
    chosen: list[int] = []
    for _ in range(min(count, classes.shape[axis])):
        gain = np.maximum(shares, shown).sum(axis=0)
        gain[chosen] = -1.0
        chosen.append(int(gain.argmax()))
        shown = np.maximum(shown, shares[:, chosen[-1:]])
    return sorted(chosen)


def blend(hu: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """float64 (rows, columns, 3) in 0..1: the CT in grey, organs tinted and outlined."""
    low, high = WINDOW_HU
    image = np.repeat(np.clip((hu - low) / (high - low), 0, 1)[..., None], 3, axis=2).astype(np.float64)
    opacity = np.where(_outline(classes), EDGE, FILL) * (classes > 0)
    return image * (1 - opacity[..., None]) + _palette()[classes] * opacity[..., None]


def colour(organ_class: int) -> str:
    """The colour of a class, 1 the first organ."""
    turn, place = divmod(organ_class - 1, len(COLOURS))
    towards, share = SHADES[turn % len(SHADES)]
    parts = (int(COLOURS[place][i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (towards - part) * share):02x}" for part in parts)


def _figure(cuts: list[Panel], classes: np.ndarray, labels: LabelSet, voxel_ml: float) -> Figure:
    """Axial slices above, the coronal cut and the legend below, all on one scale."""
    from matplotlib.figure import Figure

    (axial_mm, width_mm), (coronal_mm, _) = cuts[0].size_mm, cuts[-1].size_mm
    coronal_mm = max(coronal_mm, LEGEND_MM)
    figure = Figure(figsize=(INCH_PER_MM * 3.35 * width_mm, INCH_PER_MM * (axial_mm + coronal_mm) + 1.2))
    grid = figure.add_gridspec(
        2, 3, height_ratios=(axial_mm, coronal_mm), left=0.02, right=0.98, top=0.95, bottom=0.07, wspace=0.06
    )
    for index, panel in enumerate(cuts[:-1]):
        _draw(figure.add_subplot(grid[0, index]), panel)
    _draw(figure.add_subplot(grid[1, 0]), cuts[-1])
    _legend(figure.add_subplot(grid[1, 1:]), classes, labels, voxel_ml)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    rows, columns = panel.size_mm
    axes.imshow(blend(panel.hu, panel.classes), extent=(0, columns, rows, 0), interpolation="nearest")
    axes.set_title(panel.title, color=TEXT, fontsize=10, pad=6)
    axes.set_yticks([])
    axes.set_xticks(np.arange(0, columns, 100))
    axes.set_xlabel("mm", color=MUTED, fontsize=8, labelpad=1)
    axes.tick_params(colors=MUTED, labelsize=7, length=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    places = ((0.015, 0.5), (0.985, 0.5), (0.5, 0.985), (0.5, 0.015))
    aligned = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for side, (x, y), (across, up) in zip(panel.sides, places, aligned, strict=True):
        axes.text(x, y, side, transform=axes.transAxes, color=TEXT, fontsize=9, ha=across, va=up)


def _legend(axes: Axes, classes: np.ndarray, labels: LabelSet, voxel_ml: float) -> None:
    from matplotlib.patches import Patch

    voxels = np.bincount(classes.ravel(), minlength=labels.classes)
    handles = [
        Patch(color=colour(c) if voxels[c] else BACKGROUND, label=_caption(name, voxels[c] * voxel_ml))
        for c, name in enumerate(labels.names, start=1)
    ]
    axes.set_axis_off()
    legend = axes.legend(handles=handles, loc="center left", ncols=2, frameon=False, fontsize=11)
    for text, count in zip(legend.get_texts(), voxels[1:], strict=True):
        text.set_color(TEXT if count else MUTED)


def _caption(name: str, volume_ml: float) -> str:
    readable = name.replace("_", " ")
    return f"{readable}, {volume_ml:.0f} mL" if volume_ml else f"{readable}: not found"


def _body(hu: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold the patient (anything denser than fat in a thinned-out look), with a margin."""
    dense = (hu[:: max(1, len(hu) // 16)] > -200).mean(axis=0) > 0.1
    bounds = []
    for axis, size in ((1, hu.shape[1]), (0, hu.shape[2])):
        inside = np.flatnonzero(dense.any(axis=axis))
        low, high = (inside[0], inside[-1] + 1) if len(inside) else (0, size)
        bounds.append(slice(max(0, int(low) - size // 50), min(size, int(high) + size // 50)))
    return bounds[0], bounds[1]


def _outline(classes: np.ndarray) -> np.ndarray:
    """Pixels whose upper, lower, left or right neighbour is of another class."""
    padded = np.pad(classes, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.logical_or.reduce([neighbour != classes for neighbour in neighbours])


def _palette() -> np.ndarray:
    """float64 (256, 3): the colour of every class; black for the background, which is never blended in."""
    from matplotlib.colors import to_rgb

    return np.array([(0.0, 0.0, 0.0), *(to_rgb(colour(c)) for c in range(1, 256))])
