"""When a device runs out of memory: the same work in smaller steps, as long as there are smaller ones."""

from __future__ import annotations

import logging

import torch

from flarekit.errors import OutOfMemory

logger = logging.getLogger(__name__)


def halved(count: int, things: str, device: torch.device) -> int:
    """Half of `count`, with a warning, once what lies unused on the device is freed.

    Raises OutOfMemory where `count` is 1.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if count == 1:
        raise OutOfMemory(
            f"{device} has too little memory, even for one of the {things} at a time",
            remedy="Free some of it, use --device cpu, or a checkpoint of a smaller network.",
        )
    logger.warning("%s has too little memory for %d %s at a time: on with %d.", device, count, things, count // 2)
    return count // 2
