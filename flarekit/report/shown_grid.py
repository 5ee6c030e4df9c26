"""The voxels a page shows: a volume thinned until it fits into a few megabytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from flarekit.volumes import Volume

MAX_SIDE = 320  # pixels of the longer side of an axial slice
MAX_SLICES = 250  # of more, every second, third, ... is shown


@dataclass(frozen=True, kw_only=True)
class ShownGrid:
    """Which voxels of a canonical volume (Z, H, W) are shown."""

    size: tuple[int, int]  # rows and columns of a slice of the volume
    slices: tuple[int, ...]  # the volume's slices that are shown, equally far apart
    side: tuple[int, int]  # rows and columns of a shown slice

    @classmethod
    def of(cls, shape: tuple[int, int, int]) -> ShownGrid:
        """The grid for a volume of that shape."""
        depth, height, width = shape
        step = -(-depth // MAX_SLICES)
        first = (depth - 1) % step // 2  # what is left out is left out at both ends
        scale = min(1.0, MAX_SIDE / max(height, width))
        side = max(1, round(height * scale)), max(1, round(width * scale))
        return cls(size=(height, width), slices=tuple(range(first, depth, step)), side=side)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shown slices, rows and columns."""
        return len(self.slices), *self.side

    def image(self, hu: np.ndarray) -> np.ndarray:
        """float32: a slice (H, W) averaged onto the shown pixels."""
        picture = Image.fromarray(np.ascontiguousarray(hu, dtype=np.float32))
        return np.asarray(picture.resize(self.side[::-1], Image.Resampling.BILINEAR))

    def classes(self, classes: np.ndarray) -> np.ndarray:
        """The classes (H, W) at the shown pixels' centres."""
        rows, columns = (
            np.floor((np.arange(shown) + 0.5) * size / shown).astype(int)
            for shown, size in zip(self.side, self.size, strict=True)
        )
        return classes[rows[:, None], columns]

    def affine(self, volume: Volume) -> np.ndarray:
        """(4, 4) float64: shown index (slice, row, column, 1) to RAS+ mm."""
        step = self.slices[1] - self.slices[0] if len(self.slices) > 1 else 1
        scale = np.array([step, self.size[0] / self.side[0], self.size[1] / self.side[1]])
        to_volume = np.diag([*scale, 1.0])
        to_volume[:3, 3] = self.slices[0], (scale[1] - 1) / 2, (scale[2] - 1) / 2
        return volume.affine @ to_volume

    def nearest(self, z: int) -> int:
        """The shown slice that is nearest to the volume's slice z."""
        return int(np.abs(np.array(self.slices) - z).argmin())
