"""From annotated slices in their own pixels to whole label slices in the same pixels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from flarekit.config.propagation import PropagationConfig
from flarekit.models import STCN
from flarekit.propagation.decision import Evidence, Probabilities, decide
from flarekit.propagation.drawn import Drawn
from flarekit.propagation.native import NativeGrid
from flarekit.propagation.propagate import SliceResult, propagate
from flarekit.propagation.ranges import filled_slices
from flarekit.propagation.views import Views

if TYPE_CHECKING:
    from flarekit.data.slices import VolumeSlices  # which needs the libraries that read volumes


@dataclass(frozen=True, kw_only=True)
class FilledSlice:
    """One slice of the answer, in the volume's own pixels."""

    z: int  # slice number
    classes: np.ndarray  # (H, W) uint8: 0 background, object k is k + 1
    confidence: np.ndarray  # (K,) float32 in 0..1; 1 for an object annotated on this slice
    probabilities: Probabilities | None = (
        None  # of what was found here, where they are wanted; None where all was given
    )


def fill_slices(
    network: STCN,
    slices: VolumeSlices,
    annotated: Mapping[int, np.ndarray],
    objects: int,
    config: PropagationConfig,
    *,
    frame_mask: Mapping[int, np.ndarray] | None = None,
    only: Collection[int] | None = None,
    views: Views | None = None,
    probabilities: bool = False,
) -> Iterator[FilledSlice]:
    """All slices in range, each once, a few in memory at a time; `only` and `views` as for `propagate`.

    `annotated` maps slice numbers to classes (H, W) uint8 in the volume's own pixels: 0 background, object k
    as k + 1 with k below `objects`; other values belong to no object. `frame_mask` maps slice numbers to (K,)
    bool, the objects annotated there. Pixels given to an annotated object come out exactly as they went in.
    With `probabilities`, those of what was found come along. Progress goes to stderr. Raises ValueError as
    `propagate` does.
    """
    masks = _NetworkMasks(slices, annotated, objects)
    known = {z: np.ones(objects, dtype=bool) for z in annotated} | dict(frame_mask or {})
    network_known = {z: torch.from_numpy(mask) for z, mask in known.items()}
    results = propagate(network, slices, masks, config, frame_mask=network_known, only=only, views=views)
    finish = _Finish(slices, annotated, known, config, next(network.parameters()).device, probabilities)
    filled = filled_slices(annotated, len(slices), config)
    total = sum(only is None or z in only or z in annotated for z in filled)
    for result in tqdm(results, desc="propagating", unit="slice", total=total, disable=None, leave=False):
        yield finish(result)


class _Finish:
    """Turns the network's answers into whole label slices."""

    def __init__(
        self,
        slices: VolumeSlices,
        annotated: Mapping[int, np.ndarray],
        known: Mapping[int, np.ndarray],
        config: PropagationConfig,
        device: torch.device,
        probabilities: bool,
    ) -> None:
        self._annotated, self._known, self._config = annotated, known, config
        self._probabilities = probabilities
        self._grid = NativeGrid.of(slices.grid, device)
        self._drawn = Drawn.on(annotated, known, slices.volume.array, slices.volume.spacing_mm, config)

    def __call__(self, result: SliceResult) -> FilledSlice:
        z, objects = result.z, len(result.known)
        given = None if self._config.refine else self._annotated.get(z)
        fixed = np.zeros(objects, dtype=bool) if given is None else self._known[z]
        if given is not None and fixed.all():
            return FilledSlice(z=z, classes=given, confidence=np.ones(objects, dtype=np.float32))
        evidence = Evidence(result.found, self._grid, np.flatnonzero(fixed).tolist(), self._drawn, z)
        decision = decide(evidence, objects)
        classes, sure = decision.classes, decision.confidence.numpy()
        probabilities = evidence.probabilities() if self._probabilities and result.found.objects else None
        if given is not None:
            classes, sure = _keep(given, fixed, classes), np.where(fixed, np.float32(1), sure)
        return FilledSlice(z=z, classes=classes, confidence=sure, probabilities=probabilities)


def _keep(given: np.ndarray, fixed: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(H, W) uint8: the given pixels of fixed objects, what was found elsewhere."""
    return np.where(np.isin(given, 1 + np.flatnonzero(fixed)), given, found)


class _NetworkMasks(Mapping[int, Tensor]):
    """Annotated slices as masks (K, h, w) float32 in 0..1 on the network's grid, made anew whenever asked for."""

    def __init__(self, slices: VolumeSlices, annotated: Mapping[int, np.ndarray], objects: int) -> None:
        self._grid, self._annotated, self._objects = slices.grid, annotated, objects

    def __getitem__(self, z: int) -> Tensor:
        classes = torch.from_numpy(np.ascontiguousarray(self._annotated[z]))
        shown = classes.flatten().bincount(minlength=1 + self._objects)[1 : 1 + self._objects].nonzero().flatten()
        masks = torch.zeros(self._objects, *self._grid.canvas)
        if len(shown):
            own = classes == (1 + shown)[:, None, None]
            masks[shown] = self._grid.to_network(own[None].float())[0]
        return masks

    def __iter__(self) -> Iterator[int]:
        return iter(self._annotated)

    def __len__(self) -> int:
        return len(self._annotated)
