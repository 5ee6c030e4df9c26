"""3x3 convolutions in a quarter of the multiplications, for inference on a CPU.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
arXiv:1509.09308, section 4): tiles of 6x6 pixels and the weights are transformed, multiplied point by point, which
for all channels together is 36 matrix products, and transformed back to 4x4 pixels. Sums are float32; the error is
about twice that of the convolution itself.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

FEWEST_CHANNELS = 128  # in and out, from which the products are worth the transforms
TILES_AT_ONCE = 256  # of 6x6 pixels, whose transforms stay in a cache; those of one image at least
_INPUT = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
          (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1))  # fmt: skip
_WEIGHT = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
           (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))  # fmt: skip
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def transformed_weight(weight: Tensor) -> Tensor:
    """(36, inputs, outputs) from a convolution's weight (outputs, inputs, 3, 3), float32: four times its size."""
    outputs, inputs = weight.shape[:2]
    points = _both_ways(_WEIGHT) @ weight.permute(2, 3, 1, 0).reshape(9, -1)
    return points.view(36, inputs, outputs)


def winograd_conv3x3(x: Tensor, transformed: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution (B, outputs, H, W), padded by 1, of x (B, inputs, H, W) float32 with a transformed weight.

    What comes back lies in memory channels last, which is also how x is read fastest.
    """
    rows, columns = (-(-side // 4) for side in x.shape[2:])
    images = max(1, TILES_AT_ONCE // (rows * columns))
    parts = [_convolved(part, transformed, rows, columns) for part in x.permute(0, 2, 3, 1).split(images)]
    y = parts[0] if len(parts) == 1 else torch.cat(parts)
    return (y if bias is None else y.add_(bias))[:, : x.shape[2], : x.shape[3]].permute(0, 3, 1, 2)


def _convolved(x: Tensor, transformed: Tensor, rows: int, columns: int) -> Tensor:
    """(B, 4 rows, 4 columns, outputs) from x (B, H, W, inputs)."""
    batch, height, width, inputs = x.shape
    padded = F.pad(x, (0, 0, 1, 4 * columns - width + 1, 1, 4 * rows - height + 1))
    tiles = padded.unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3).reshape(36, -1)
    points = (_both_ways(_INPUT) @ tiles).view(36, -1, inputs)
    products = torch.bmm(points, transformed).view(36, -1)
    pixels = (_both_ways(_OUTPUT) @ products).view(4, 4, batch, rows, columns, -1)
    return pixels.permute(2, 3, 0, 4, 1, 5).reshape(batch, 4 * rows, 4 * columns, -1)


@functools.cache
def _both_ways(transform: tuple[tuple[float, ...], ...]) -> Tensor:
    """The transform of rows and columns as one matrix, on tiles whose pixels are strung out row by row."""
    matrix = torch.tensor(transform, dtype=torch.float64, device="cpu")
    return torch.kron(matrix, matrix).float()
