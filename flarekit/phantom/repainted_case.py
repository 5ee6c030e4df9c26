"""A case of a tissue store as a network sees it: painted anew for every sample."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flarekit.config.phantom import RECIPES, PhantomRecipe
from flarekit.config.preprocessing import PreprocessingConfig, WindowPreset
from flarekit.data.grid import to_float
from flarekit.data.network_case import NetworkCase
from flarekit.data.store import SliceStore
from flarekit.data.windows import window_slices
from flarekit.errors import InputError
from flarekit.phantom.repaint import repaint


class RepaintedCase(NetworkCase):
    """A `NetworkCase` whose images depend on the seed that they are asked for with. Raises InputError."""

    def __init__(self, store: SliceStore, name: str, config: PreprocessingConfig) -> None:
        super().__init__(store, name, config)
        self._recipe = _recipe(store)

    def images(self, slices: Sequence[int], windows: WindowPreset | None = None, *, seed: int = 0) -> Tensor:
        """float32 (N, C, h, w) in 0..1: one painting of the slices, the same for the same seed."""
        case = self.store.case(self.name)
        around = [np.stack([case.hu(min(max(n, 0), self.depth - 1)) for n in (z - 1, z, z + 1)]) for z in slices]
        hu = repaint(
            torch.from_numpy(np.stack(around).astype(np.uint8)),
            np.array(slices) * self.spacing_z_mm,
            case.spacing_mm,
            self._recipe,
            np.random.default_rng((seed, zlib.crc32(self.name.encode()))),
        )
        planes = window_slices(hu.round_(), windows or self.config.windows)
        return self.grid.to_network(to_float(planes))


def _recipe(store: SliceStore) -> PhantomRecipe:
    name = store.config.tissues
    if name not in RECIPES:
        raise InputError(
            f"holds tissues for a recipe {name!r} that is not known",
            where=store.path,
            remedy=f"Make the store again with one of {', '.join(RECIPES)}, or update flarekit.",
        )
    return RECIPES[name]
