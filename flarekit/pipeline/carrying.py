"""The reference slices' masks carried to all other slices, in smaller steps where memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch

from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.data.slices import VolumeSlices
from flarekit.models import STCN
from flarekit.models.layout import laid_out_for
from flarekit.pipeline.maps import Sink
from flarekit.pipeline.segmentation import Assembly
from flarekit.propagation import fill_slices
from flarekit.propagation.fill import FilledSlice
from flarekit.reference import SliceEvidence
from flarekit.reference.memory import halved
from flarekit.volumes import Volume

logger = logging.getLogger(__name__)


def carry(
    assembly: Assembly,
    volume: Volume,
    references: Sequence[SliceEvidence],
    propagation: Loaded,
    device: torch.device,
    config: PropagationConfig,
    sinks: Sequence[Sink] = (),
) -> None:
    """Add the references' own masks to the assembly, and on all other slices what is propagated from them.

    `sinks` get the probabilities of the propagated slices. Raises OutOfMemory.
    """
    for item in references:
        assembly.add(item.z, item.classes, item.area_px, item.certainty_px)
    organs = sorted({int(c) for item in references for c in item.area_px.nonzero()[0]} - {0})
    if not organs:
        return
    class_of = np.array([0, *organs], dtype=np.uint8)
    object_of = np.zeros(256, dtype=np.uint8)
    object_of[organs] = range(1, len(class_of))
    slices = VolumeSlices(volume, propagation.card.preprocessing)
    annotated = {item.z: object_of[item.classes] for item in references}
    network = cast(STCN, laid_out_for(propagation.networks["stcn"], device))
    shape = (assembly.labels.classes, *volume.array.shape[1:])
    for filled in _filled(network, slices, annotated, len(organs), device, config, bool(sinks)):
        if filled.z not in annotated:
            assembly.add_propagated(filled.z, class_of[filled.classes], organs, filled.confidence)
            for sink in sinks:
                sink.add(filled.z, _probabilities(filled, organs, shape))
    network.to("cpu")


def _filled(
    network: STCN,
    slices: VolumeSlices,
    annotated: Mapping[int, np.ndarray],
    objects: int,
    device: torch.device,
    config: PropagationConfig,
    probabilities: bool,
) -> Iterator[FilledSlice]:
    """Every slice once; where the device has too little memory, the rest in smaller steps."""
    done: set[int] = set()
    while True:
        missing = [z for z in range(len(slices)) if z not in done]
        only = None if config.memory_every or not done else missing
        try:
            network = network.to(device)
            for filled in fill_slices(
                network, slices, annotated, objects, config, only=only, probabilities=probabilities
            ):
                if filled.z not in done:
                    done.add(filled.z)
                    yield filled
            return
        except torch.OutOfMemoryError:
            pass  # its traceback holds on to tensors: the next attempt starts outside
        at_once = halved(config.objects_at_once, "organs", device)
        config = replace(config, objects_at_once=at_once, views_mb=max(1, config.views_mb // 4))


def _probabilities(filled: FilledSlice, organs: Sequence[int], shape: tuple[int, int, int]) -> torch.Tensor:
    """(C, H, W): background alone where nothing was found."""
    if filled.probabilities is not None:
        return filled.probabilities.whole(organs, shape)
    planes = torch.zeros(shape)
    planes[0] = 1.0
    return planes
