"""A stored case as a network sees it: windowed, on the network's grid, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from flarekit.config.preprocessing import PreprocessingConfig, WindowPreset
from flarekit.data.grid import NetworkGrid, to_float
from flarekit.data.overlay import Overlay
from flarekit.data.slices import slice_position
from flarekit.data.store import SliceStore
from flarekit.labels import IGNORE


class NetworkCase:
    """One case of a store. What is asked for often is kept; its file is left to the store to hold open.

    An `overlay` holds labels in place of those of the store.
    """

    def __init__(
        self, store: SliceStore, name: str, config: PreprocessingConfig, *, overlay: Overlay | None = None
    ) -> None:
        self.store, self.name, self.config, self.overlay = store, name, config, overlay
        case = store.case(name)
        self.depth = case.depth
        self.spacing_z_mm, *in_plane_mm = case.spacing_mm
        self.grid = NetworkGrid.of(case.shape[1:], (in_plane_mm[0], in_plane_mm[1]), config)
        header = case.header if overlay is None else overlay.header
        self.organs = header.labelled  # classes its labels cover; empty without labels

    @cached_property
    def label_voxels(self) -> np.ndarray:
        """int32 (Z, classes): voxels of each class in each slice. Raises ValueError for a case without labels."""
        counts = (self.overlay or self.store.case(self.name)).label_voxels
        if counts is None:
            raise ValueError(f"case {self.name!r} has no labels")
        return counts

    def images(self, slices: Sequence[int], windows: WindowPreset | None = None, *, seed: int = 0) -> Tensor:
        """float32 (N, C, h, w) in 0..1 of the slices with these numbers, through the config's windows or others.

        A stored CT is the same for every `seed`; a case that is painted as it is read is not.
        """
        case, preset = self.store.case(self.name), windows or self.config.windows
        return self.grid.to_network(to_float(torch.stack([case.image(z, preset) for z in slices])))

    def classes(self, slices: Sequence[int]) -> Tensor:
        """uint8 (N, h, w): labels of the slices. Raises ValueError for a case without labels.

        Where only some organs are labelled, 0 means none of these: background or an organ nobody looked for. An
        overlay's IGNORE stays: it may be one of them.
        """
        if not self.organs:
            raise ValueError(f"case {self.name!r} has no labels")
        planes = torch.from_numpy(self._planes(slices))
        if self.overlay is None and len(self.organs) < self.store.labels.classes - 1:
            planes = planes.masked_fill(planes == IGNORE, 0)
        return self.grid.labels_to_network(planes)

    def _planes(self, slices: Sequence[int]) -> np.ndarray:
        if self.overlay is not None:
            return self.overlay.labels_at(slices)
        case = self.store.case(self.name)
        return np.stack([case.labels_at(z) for z in slices])

    def looked_for(self) -> Tensor:
        """bool (classes,): background and the organs that the labels cover."""
        known = torch.zeros(self.store.labels.classes, dtype=torch.bool)
        known[[0, *self.organs]] = True
        return known

    def position(self, z: int) -> float:
        """Where along the volume slice z lies, 0 its lowest and 1 its highest."""
        return slice_position(z, self.depth)
