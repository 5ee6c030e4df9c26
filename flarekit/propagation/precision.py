"""Propagation in half precision: what the network computes in, while its weights stay float32."""

from __future__ import annotations

import torch
from torch import Tensor

from flarekit.config.propagation import AUTO
from flarekit.errors import CheckpointError, UsageError
from flarekit.models import STCN, DecoderSkips, KeyFeatures

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def arithmetic(precision: str, device: torch.device) -> torch.dtype:
    """The dtype that a name of `flarekit.config.propagation.PRECISIONS` stands for on a device.

    Half precision is many times faster on a GPU, and many times slower on most CPUs.
    """
    if precision == AUTO:
        return torch.float16 if device.type == "cuda" else torch.float32
    return DTYPES[precision]


class Lowered:
    """An STCN that computes in half precision, step by step; what it gives is in half precision, too.

    Shapes and meanings are those of the STCN's own methods.
    """

    def __init__(self, network: STCN, dtype: torch.dtype) -> None:
        self._network = network
        self._device, self._dtype = next(network.parameters()).device.type, dtype

    @property
    def values_are_local(self) -> bool:
        return self._network.values_are_local

    def encode_key(self, image: Tensor) -> KeyFeatures:
        with self._lowered():
            return self._network.encode_key(image)

    def encode_value(self, image: Tensor, f16: Tensor, mask: Tensor, others: Tensor) -> Tensor:
        with self._lowered():
            return self._network.encode_value(image, f16, mask, others)

    def decode_skips(self, features: KeyFeatures) -> DecoderSkips:
        with self._lowered():
            return self._network.decode_skips(features)

    def decode(self, readout: Tensor, features: KeyFeatures | DecoderSkips) -> Tensor:
        with self._lowered():
            return self._network.decode(readout, features)

    def _lowered(self) -> torch.autocast:
        """Anew each time: it holds what its own thread has to go back to."""
        return torch.autocast(self._device, self._dtype)


def in_precision(network: STCN, precision: str) -> STCN | Lowered:
    """The network on its own device as it computes in that precision."""
    dtype = arithmetic(precision, next(network.parameters()).device)
    return network if dtype == torch.float32 else Lowered(network, dtype)


def require_numbers(precision: str, *parts: Tensor) -> None:
    """Raises an error where what the network gave in that precision holds infinity or NaN: the mask would be a guess.

    It is a UsageError where float16 overflowed, a CheckpointError else. The device is waited for once.
    """
    if torch.stack([part.sum(dtype=torch.float32) for part in parts]).isfinite().all():
        return
    if arithmetic(precision, parts[0].device) == torch.float16:
        raise UsageError(
            "propagation overflows float16: what the network computes on this CT is too large for --precision fp16",
            remedy="Run again with --precision bf16, or fp32.",
        )
    raise CheckpointError(
        "the propagation network answers with infinity or what is no number",
        remedy="Its weights, or values of the CT, are not what it was trained on: check both.",
    )
