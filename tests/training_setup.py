"""A run small enough for a test: tiny networks on tiny stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_networks
from training_stores import write_store

from flarekit.config.architecture import ARCHITECTURES, Architecture
from flarekit.config.preprocessing import PREPROCESSING, PreprocessingConfig
from flarekit.config.run import RunSettings, Stores
from flarekit.config.training import (
    AUGMENTATIONS,
    CPSConfig,
    LoopConfig,
    OptimiserConfig,
    STCNTrainingConfig,
    SupervisedConfig,
)
from flarekit.training import runs

TINY = Architecture(transunet=tiny_networks.TRANSUNET, deeplabv3plus=tiny_networks.DEEPLAB, stcn=tiny_networks.STCN)
TINY_GRID = PreprocessingConfig(spacing_mm=1.6, canvas=96)
LOOP = LoopConfig(iterations=6, validate_every=2, validation_stride=2, save_every=3)
FAST = OptimiserConfig(lr=3e-3, schedule="cosine", warmup=2)
CPS = CPSConfig(
    loop=LOOP, optimiser=FAST, augmentation=AUGMENTATIONS["affine"], labelled_batch=2, unlabelled_batch=1, crop=64
)
SUPERVISED = SupervisedConfig(
    loop=LOOP, optimiser=FAST, augmentation=AUGMENTATIONS["affine"], network="deeplabv3plus", crop=64
)
STCN = STCNTrainingConfig(
    loop=LOOP, optimiser=FAST, augmentation=AUGMENTATIONS["affine"], clips=2, objects_per_clip=2, crop=64
)


@dataclass(frozen=True)
class Workplace:
    """Stores and a folder for runs."""

    folder: Path

    def settings(self, name: str, **changes: object) -> RunSettings:
        """Settings of a run on the stores."""
        stores = Stores(
            labelled=(self.folder / "labelled",),
            unlabelled=(self.folder / "unlabelled",),
            validation=self.folder / "validation",
        )
        values = {"name": name, "stores": stores, "arch": "tiny", "runs": self.folder / "runs"} | changes
        return RunSettings(**values)  # type: ignore[arg-type]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    """Three small stores and the architecture `tiny`. Curves are not drawn: that takes longer than the training."""
    monkeypatch.setattr(runs, "draw_curves", lambda *_: None)
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    monkeypatch.setitem(PREPROCESSING, "tiny", TINY_GRID)
    write_store(tmp_path / "labelled")
    write_store(tmp_path / "unlabelled", labelled=None, seed=1)
    write_store(tmp_path / "validation", [(8, 58, 62)], seed=2)
    return Workplace(tmp_path)
