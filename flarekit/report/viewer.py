"""What a page's viewer needs of a case: the thinned volume, its mask, and where its voxels lie in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flarekit.labels import IGNORE, LabelSet
from flarekit.report.coding import jpeg, runs
from flarekit.report.grey_levels import SHOWN_HU, hu_of_levels, to_levels
from flarekit.report.markup import readable
from flarekit.report.overlay import colour, informative
from flarekit.report.shown_grid import ShownGrid
from flarekit.report.slice_numbers import number_in_file
from flarekit.volumes import Volume

WINDOWS = (("abdomen", 50, 400), ("liver", 30, 150), ("lung", -600, 1500), ("bone", 400, 1800))  # HU: level, width
UNDECIDED = "#9aa0a6"  # the colour of voxels whose class is not known


def viewer_data(volume: Volume, classes: np.ndarray, labels: LabelSet, references: Sequence[int]) -> dict[str, Any]:
    """Plain data for the page's script; classes (Z, H, W) and references are of the whole volume.

    All indices in it are of shown voxels; `slices` are the shown ones' numbers in the file, `depth` flarekit's own.
    """
    grid = ShownGrid.of(volume.array.shape)
    affine = grid.affine(volume)
    shown = np.stack([grid.classes(classes[z]) for z in grid.slices])
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(float(mm), 4) for mm in np.linalg.norm(affine[:3, :3], axis=0)],
        "affine": [[round(float(value), 5) for value in row] for row in affine[:3]],
        "slices": [number_in_file(volume, z) for z in grid.slices],
        "depth": list(grid.slices),
        "references": sorted({grid.nearest(z) for z in references}),
        "start": [informative(shown, 1, axis=axis)[0] for axis in range(3)],
        "hu": hu_of_levels(),
        "windows": [{"name": name, "level": level, "width": width} for name, level, width in WINDOWS],
        "organs": _organs(labels, set(np.unique(shown).tolist())),
        "image": [jpeg(to_levels(grid.image(volume.array[z].clip(*SHOWN_HU)))) for z in grid.slices],
        "mask": [runs(plane) for plane in shown],
    }


def _organs(labels: LabelSet, found: set[int]) -> list[dict[str, Any]]:
    """Class, name and colour of what the mask holds."""
    named = [(c, readable(name), colour(c)) for c, name in enumerate(labels.names, start=1)]
    known = [*named, (IGNORE, "undecided", UNDECIDED)]
    return [{"class": c, "title": name, "colour": shown_in} for c, name, shown_in in known if c in found]
