"""From annotated slices in their own pixels to whole label slices in the same pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from flarekit.config.propagation import PropagationConfig
from flarekit.data.slices import VolumeSlices
from flarekit.models import STCN
from flarekit.propagation.propagate import SliceResult, propagate
from flarekit.propagation.ranges import filled_slices


@dataclass(frozen=True, kw_only=True)
class FilledSlice:
    """One slice of the answer, in the volume's own pixels."""

    z: int  # slice number
    classes: np.ndarray  # (H, W) uint8: 0 background, object k is k + 1
    confidence: np.ndarray  # (K,) float32 in 0..1; 1 for an object annotated on this slice


def fill_slices(
    network: STCN,
    slices: VolumeSlices,
    annotated: Mapping[int, np.ndarray],
    objects: int,
    config: PropagationConfig,
    *,
    frame_mask: Mapping[int, np.ndarray] | None = None,
) -> Iterator[FilledSlice]:
    """All slices in range (see `propagate`), each once, one slice in memory at a time.

    `annotated` maps slice numbers to classes (H, W) uint8 in the volume's own pixels: 0 background, object k
    as k + 1 with k below `objects`; other values belong to no object. `frame_mask` maps slice numbers to (K,)
    bool, the objects annotated there. Pixels given to an annotated object come out exactly as they went in.
    Progress goes to stderr. Raises ValueError as `propagate` does.
    """
    masks = {z: _to_network(slices, classes, objects) for z, classes in annotated.items()}
    known = {z: torch.from_numpy(mask) for z, mask in (frame_mask or {}).items()}
    results = propagate(network, slices, masks, config, frame_mask=known)
    total = len(filled_slices(annotated, len(slices), config))
    for result in tqdm(results, desc="propagating", unit="slice", total=total, disable=None, leave=False):
        fixed = known.get(result.z, torch.ones(objects, dtype=torch.bool))
        yield FilledSlice(
            z=result.z,
            classes=_to_native(slices, result, annotated.get(result.z), fixed),
            confidence=result.confidence.cpu().numpy(),
        )


def _to_network(slices: VolumeSlices, classes: np.ndarray, objects: int) -> Tensor:
    """Masks (K, h, w) float32 in 0..1 on the network's grid."""
    labels = torch.arange(1, objects + 1)[:, None, None]
    own = torch.from_numpy(np.ascontiguousarray(classes))[None] == labels
    return slices.grid.to_network(own[None].float())[0]


def _to_native(slices: VolumeSlices, result: SliceResult, given: np.ndarray | None, fixed: Tensor) -> np.ndarray:
    """(H, W) uint8 of a result; the given classes of fixed objects stay, and no other pixel becomes one."""
    if given is not None and bool(fixed.all()):
        return given
    planes = slices.grid.from_network(result.probabilities[None])[0]
    if given is None:
        return planes.argmax(dim=0).to(torch.uint8).cpu().numpy()
    planes[1:][fixed.to(planes.device)] = -1
    found = planes.argmax(dim=0).to(torch.uint8).cpu().numpy()
    stays = np.isin(given, 1 + np.flatnonzero(fixed.numpy()))
    return np.where(stays, given, found)
