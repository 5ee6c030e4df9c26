"""In-plane geometry between a native slice and a network's input: spacing normalised, canvas padded with air."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from flarekit.config.preprocessing import PreprocessingConfig


@dataclass(frozen=True)
class NetworkGrid:
    """A resampling (pixel centres aligned at the slice's middle) followed by centred padding."""

    native: tuple[int, int]  # (H, W) pixels of the slice
    resampled: tuple[int, int]  # pixels after resampling
    canvas: tuple[int, int]  # (h, w) pixels of the network's input, never smaller than `resampled`

    @classmethod
    def of(cls, native: tuple[int, int], spacing_mm: tuple[float, float], config: PreprocessingConfig) -> NetworkGrid:
        """The grid for slices of (H, W) pixels at in-plane spacing (h, w) in mm."""
        scale_h, scale_w = (1.0, 1.0) if config.spacing_mm is None else (s / config.spacing_mm for s in spacing_mm)
        resampled = max(1, round(native[0] * scale_h)), max(1, round(native[1] * scale_w))
        return cls(native, resampled, (_canvas(resampled[0], config), _canvas(resampled[1], config)))

    def to_network(self, image: Tensor) -> Tensor:
        """float32 (B, C, h, w) from (B, C, H, W); what lies outside the slice is 0, black in every window."""
        if self.resampled != self.native:
            image = F.interpolate(image, self.resampled, mode="bilinear", align_corners=False, antialias=True)
        return F.pad(image, self._padding())

    def labels_to_network(self, classes: Tensor, *, outside: int = 0) -> Tensor:
        """uint8 (B, h, w) from classes (B, H, W) by nearest neighbour; padding takes the class `outside`."""
        if self.resampled != self.native:
            classes = F.interpolate(classes[:, None], self.resampled, mode="nearest-exact")[:, 0]
        return F.pad(classes, self._padding(), value=outside)

    def from_network(self, planes: Tensor) -> Tensor:
        """float32 (B, C, H, W) from planes (B, C, h, w), such as probabilities, by bilinear interpolation."""
        left, _, top, _ = self._padding()
        rows, columns = self.resampled
        planes = planes[..., top : top + rows, left : left + columns]
        if self.resampled == self.native:
            return planes
        return F.interpolate(planes, self.native, mode="bilinear", align_corners=False, antialias=True)

    def from_network_weights(self) -> tuple[Tensor, Tensor]:
        """float32 rows (H, h) and columns (W, w): `from_network` of planes p is rows @ p @ columns.T, part by part."""
        left, right, top, bottom = self._padding()
        rows = _axis_weights(self.native[0], self.resampled[0])
        columns = _axis_weights(self.native[1], self.resampled[1])
        return F.pad(rows, (top, bottom)), F.pad(columns, (left, right))

    def _padding(self) -> tuple[int, int, int, int]:
        rows, columns = (c - r for c, r in zip(self.canvas, self.resampled, strict=True))
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2


def _axis_weights(native: int, resampled: int) -> Tensor:
    """(native, resampled) weights of the bilinear interpolation along one axis."""
    if native == resampled:
        return torch.eye(native)
    unit = torch.eye(resampled)[None, None]
    planes = F.interpolate(unit, (native, resampled), mode="bilinear", align_corners=False, antialias=True)
    return planes[0, 0]


def _canvas(pixels: int, config: PreprocessingConfig) -> int:
    return max(config.canvas, -(-pixels // config.multiple) * config.multiple)


def to_float(image: Tensor) -> Tensor:
    """float32 in 0..1 from uint8 channels."""
    return image.to(torch.float32).div_(255.0)
