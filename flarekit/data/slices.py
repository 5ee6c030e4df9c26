"""The axial slices of a volume in memory, as a network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.data.grid import NetworkGrid, to_float
from flarekit.data.normalisation import normalised
from flarekit.data.windows import window_slices
from flarekit.volumes import Volume


class VolumeSlices:
    """Slices of one CT, windowed and resampled as they are asked for; only the CT itself is held."""

    def __init__(self, volume: Volume, config: PreprocessingConfig) -> None:
        self.volume, self.config = volume, config

    def __len__(self) -> int:
        return self.volume.array.shape[0]

    @property
    def spacing_z_mm(self) -> float:
        """Distance between neighbouring slices, mm."""
        return self.volume.spacing_mm[0]

    @cached_property
    def grid(self) -> NetworkGrid:
        """The in-plane geometry between the volume's slices and the network's input."""
        _, height, width = self.volume.array.shape
        return NetworkGrid.of((height, width), self.volume.spacing_mm[1:], self.config)

    def images(self, slices: Sequence[int]) -> Tensor:
        """float32 (B, 3, h, w) of the slices with these numbers: in 0..1, or normalised as the config says."""
        hu = torch.from_numpy(np.ascontiguousarray(self.volume.array[list(slices)]))
        return normalised(self.grid.to_network(to_float(window_slices(hu, self.config.windows))), self.config)

    def positions(self, slices: Sequence[int]) -> Tensor:
        """float32 (B,): where along the volume each slice lies, 0 its lowest and 1 its highest."""
        return torch.tensor([slice_position(z, len(self)) for z in slices], dtype=torch.float32)


def slice_position(z: int, depth: int) -> float:
    """Relative position of slice z among `depth` slices, 0..1 (0.5 for a single slice)."""
    return z / (depth - 1) if depth > 1 else 0.5
