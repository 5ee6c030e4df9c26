"""Random changes of training slices: drawn once a sample from its own generator, applied to all its slices alike.

Reflections are never harmless in a body that has a left and a right: one of them makes a right kidney look
like a left one, whichever axis it flips, so the labels of paired organs are exchanged with it. Two together
are half a turn, which exchanges nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flarekit.config.preprocessing import WindowPreset
from flarekit.config.training import AugmentationConfig
from flarekit.data.field_of_view import FieldOfView, draw_field


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to the slices of one sample. Rows and columns are pixels of the changed canvas."""

    flip_rows: bool  # front and back
    flip_columns: bool  # left and right
    quarter_turns: int  # counter-clockwise, after the flips
    rotation_deg: float
    zoom: float  # above 1 magnifies
    window_shift: float  # windows move by this share of their width
    window_stretch: float  # and become this many times as wide
    gamma: float
    noise_hu: float  # standard deviation of white noise
    coarseness: float  # pixels are shown as if they were this many times as large
    place: tuple[float, float]  # where the crop lies within its room, 0..1 for rows and columns
    shift: tuple[float, float]  # further shift in rows and columns, share of the side
    noise_seed: int
    field: FieldOfView | None  # the only part that is shown; None shows all

    @property
    def mirrored(self) -> bool:
        """Whether left and right have changed places."""
        return self.flip_rows != self.flip_columns

    @property
    def resampled(self) -> bool:
        """Whether pixels fall between those of the canvas."""
        return self.rotation_deg != 0 or self.zoom != 1 or self.shift != (0.0, 0.0)


UNCHANGED = Change(
    flip_rows=False,
    flip_columns=False,
    quarter_turns=0,
    rotation_deg=0.0,
    zoom=1.0,
    window_shift=0.0,
    window_stretch=1.0,
    gamma=1.0,
    noise_hu=0.0,
    coarseness=1.0,
    place=(0.5, 0.5),
    shift=(0.0, 0.0),
    noise_seed=0,
    field=None,
)


def draw_change(config: AugmentationConfig, rng: np.random.Generator) -> Change:
    """A change within the configured ranges. Every call takes the same number of draws."""
    rows, columns = (bool(flip) for flip in rng.integers(0, 2, size=2))
    signed = rng.uniform(-1.0, 1.0, size=7)
    places = rng.uniform(0.0, 1.0, size=3)
    turns, noise_seed = int(rng.integers(0, 4)), int(rng.integers(0, 2**31))
    coarse, power = rng.uniform(0.0, 1.0, size=2)
    return Change(
        flip_rows=config.flips and rows,
        flip_columns=config.flips and (columns if config.mirror == "swap" else rows),
        quarter_turns=turns if config.quarter_turns else 0,
        rotation_deg=float(signed[0] * config.rotation_deg),
        zoom=float(config.scale ** signed[1]),
        window_shift=float(signed[2] * config.window_shift),
        window_stretch=float(1.0 + signed[3] * config.window_shift),
        gamma=float(config.gamma ** signed[4]),
        noise_hu=float(places[2] * config.noise_hu),
        coarseness=float(config.coarsen**power) if coarse < 0.5 else 1.0,
        place=(float(places[0]), float(places[1])),
        shift=(float(signed[5] * config.shift), float(signed[6] * config.shift)),
        noise_seed=noise_seed,
        field=draw_field(config.field_of_view, rng),
    )


def shifted_windows(preset: WindowPreset, change: Change) -> WindowPreset:
    """The preset with its windows moved and stretched; the same object where nothing changes."""
    if change.window_shift == 0 and change.window_stretch == 1:
        return preset
    ranges = []
    for low, high in preset.ranges_hu:
        width = high - low
        middle = (low + high) / 2 + change.window_shift * width
        half = change.window_stretch * width / 2
        ranges.append((middle - half, middle + half))
    return WindowPreset(name=preset.name, ranges_hu=tuple(ranges))


def change_images(
    images: Tensor, change: Change, *, side: int, windows: WindowPreset, focus: tuple[float, float] | None = None
) -> Tensor:
    """float32 (N, C, side, side) in 0..1 from slices (N, C, h, w) in 0..1 on the network's grid.

    `windows` are those the slices were read through: noise is in HU.
    `focus` (row, column) is a place on the unchanged canvas that a crop stays near to; None crops anywhere.
    """
    images = _place(images, change, side, focus, mode="bilinear")
    if change.coarseness > 1:
        images = _coarsened(images, change.coarseness)
    if change.noise_hu > 0:
        images = images + _noise(images.shape, change, windows)
    if change.gamma != 1 or change.noise_hu > 0:
        images = images.clamp(0.0, 1.0).pow(change.gamma)
    return images


def change_classes(
    classes: Tensor,
    change: Change,
    *,
    side: int,
    mirror_table: np.ndarray | None = None,
    focus: tuple[float, float] | None = None,
) -> Tensor:
    """uint8 (N, side, side) from classes (N, h, w), changed as their slices are.

    `mirror_table` (256,) says what a class becomes when left and right change places; None where classes
    mean nothing beyond the sample.
    """
    moved = _place(classes[:, None].float(), change, side, focus, mode="nearest")[:, 0].to(torch.uint8)
    if change.mirrored and mirror_table is not None:
        return torch.from_numpy(mirror_table)[moved.long()]
    return moved


def cut_field(planes: Tensor, change: Change, *, around: tuple[float, float] | None = None) -> Tensor:
    """The planes (..., side, side) as a CT of a smaller field of view shows them; the same without one.

    Comes last, on changed images and classes alike: around what a CT shows there is neither patient nor noise, but
    background and 0, as `NetworkGrid` pads. (What a scanner puts there, -1024 HU, is 0.21 in the chest window.) What is
    shown moves to the middle, where `NetworkGrid` puts it. `around` (row, column) is a place on the changed planes that
    stays in the field.
    """
    if change.field is None:
        return planes
    side = planes.shape[-1]
    return _cut(planes, side, change.field.middle(side, around)) * change.field.inside(side)


def _place(planes: Tensor, change: Change, side: int, focus: tuple[float, float] | None, *, mode: str) -> Tensor:
    height, width = planes.shape[-2:]
    middle = _middle((height, width), change, side, focus)
    flipped = [axis for axis, flip in ((-2, change.flip_rows), (-1, change.flip_columns)) if flip]
    if flipped:
        planes = planes.flip(flipped)
        middle = tuple(  # type: ignore[assignment]
            n - m if axis in flipped else m for axis, n, m in zip((-2, -1), (height, width), middle, strict=True)
        )
    for _ in range(change.quarter_turns):
        middle = (planes.shape[-1] - middle[1], middle[0])
        planes = planes.rot90(1, (-2, -1))
    if change.resampled:
        return _resample(planes, change, side, middle, mode)
    return _cut(planes, side, middle)


def _middle(
    canvas: tuple[int, int], change: Change, side: int, focus: tuple[float, float] | None
) -> tuple[float, float]:
    """The middle of the crop on the unchanged canvas, in pixel edges: inside it as far as the canvas has room."""
    middles = []
    for axis, n in enumerate(canvas):
        low, high = min(side, n) / 2, n - min(side, n) / 2
        middle = low + change.place[axis] * (high - low)
        if focus is not None:
            middle = focus[axis] + (change.place[axis] - 0.5) * side / 2
        middles.append(min(max(middle, low), high))
    return middles[0], middles[1]


def _cut(planes: Tensor, side: int, middle: tuple[float, float]) -> Tensor:
    """The side x side pixels around a place; zeros where the canvas ends."""
    top, left = (math.floor(m - side / 2 + 0.5) for m in middle)
    height, width = planes.shape[-2:]
    inside = planes[..., max(top, 0) : top + side, max(left, 0) : left + side]
    padding = (max(-left, 0), max(left + side - width, 0), max(-top, 0), max(top + side - height, 0))
    return F.pad(inside, padding) if any(padding) else inside


def _resample(planes: Tensor, change: Change, side: int, middle: tuple[float, float], mode: str) -> Tensor:
    """The side x side pixels around a place, rotated and zoomed about it in one interpolation."""
    height, width = planes.shape[-2:]
    angle = math.radians(change.rotation_deg)
    cosine, sine = math.cos(angle) * side / change.zoom, math.sin(angle) * side / change.zoom
    row, column = (m + s * side for m, s in zip(middle, change.shift, strict=True))
    theta = torch.tensor(
        [
            [cosine / width, -sine / width, 2 * column / width - 1],
            [sine / height, cosine / height, 2 * row / height - 1],
        ],
        dtype=torch.float32,
    )
    grid = F.affine_grid(theta[None], [1, 1, side, side], align_corners=False)
    # One interpolation of all slices as channels of a single image.
    flat = planes.reshape(1, -1, height, width)
    moved = F.grid_sample(flat, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return moved.reshape(*planes.shape[:-2], side, side)


def _coarsened(images: Tensor, factor: float) -> Tensor:
    """The images as larger pixels would have shown them, interpolated between these."""
    height, width = images.shape[-2:]
    fewer = max(1, round(height / factor)), max(1, round(width / factor))
    coarse = F.interpolate(images, fewer, mode="bilinear", align_corners=False, antialias=True)
    return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def _noise(shape: torch.Size, change: Change, windows: WindowPreset) -> Tensor:
    """float32 (N, C, side, side): one field of HU a slice, seen through every channel's window."""
    frames, channels, height, width = shape
    rng = np.random.default_rng(change.noise_seed)
    field = torch.from_numpy(rng.standard_normal((frames, 1, height, width), dtype=np.float32))
    per_channel = [change.noise_hu / (high - low) for low, high in windows.ranges_hu]
    return field * torch.tensor(per_channel)[:channels, None, None]
