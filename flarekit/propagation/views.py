"""Slices as the network sees them, each looked at once: the last few are kept for the way back."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from flarekit.config.propagation import AUTO
from flarekit.models import STCN
from flarekit.propagation.precision import in_precision
from flarekit.propagation.step import View, look


class Slices(Protocol):
    """The axial slices of a volume, as flarekit.data.slices.VolumeSlices gives them."""

    @property
    def spacing_z_mm(self) -> float: ...
    def __len__(self) -> int: ...
    def images(self, slices: Sequence[int]) -> Tensor: ...


class Views:
    """The views of a volume's slices; the least recently used go when those kept outgrow `budget_mb`.

    All that is done with a view is computed in its precision. Threads may look at different slices at once.
    """

    def __init__(self, network: STCN, slices: Slices, budget_mb: int, precision: str = AUTO) -> None:
        self._network, self._slices, self._budget_mb = in_precision(network, precision), slices, budget_mb
        self._device = next(network.parameters()).device
        self._kept: OrderedDict[int, View] = OrderedDict()
        self._keeping = threading.Lock()

    @property
    def device(self) -> torch.device:
        """Where the network looks at them."""
        return self._device

    @torch.inference_mode()
    def at(self, z: int) -> View:
        """The view of slice z, on the network's device."""
        with self._keeping:
            view = self._kept.pop(z, None)
        if view is None:
            view = look(self._network, self._slices.images([z]).to(self._device), z)
        with self._keeping:
            self._kept[z] = view
            while len(self._kept) > 1 and len(self._kept) * view.size_mb > self._budget_mb:
                self._kept.popitem(last=False)
        return view
