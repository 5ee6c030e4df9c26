"""A run small enough for a test: tiny networks on tiny stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from training_stores import write_store

from flarekit.config.architecture import ARCHITECTURES, Architecture, DeepLabConfig, STCNConfig, TransUNetConfig
from flarekit.config.preprocessing import PREPROCESSING, PreprocessingConfig
from flarekit.config.training import AUGMENTATIONS, CPSConfig, LoopConfig, OptimiserConfig, STCNTrainingConfig
from flarekit.training.data import Stores
from flarekit.training.runs import RunSettings

# Dropout everywhere it can be, so that a resumed run needs the state of its generator.
TINY = Architecture(
    transunet=TransUNetConfig(
        grid=4,
        resnet_width=8,
        resnet_units=(1, 1, 1),
        resnet_groups=4,
        hidden=32,
        layers=1,
        heads=2,
        mlp=64,
        dropout=0.1,
        bridge=16,
        decoder=(16, 16, 8, 8),
    ),
    deeplabv3plus=DeepLabConfig(
        encoder="mobilenetv3_small_050", encoder_head=False, channels=16, skip_channels=8, rates=(1, 2, 3)
    ),
    stcn=STCNConfig(
        key_block="basic",
        key_units=(1, 1, 1),
        key_width=8,
        value_units=(1, 1, 1),
        value_width=8,
        key_channels=8,
        value_channels=16,
        decoder=(16, 16, 8),
    ),
)
LOOP = LoopConfig(iterations=6, validate_every=2, validation_stride=2, save_every=3)
FAST = OptimiserConfig(lr=3e-3, schedule="cosine", warmup=2)
CPS = CPSConfig(
    loop=LOOP, optimiser=FAST, augmentation=AUGMENTATIONS["affine"], labelled_batch=2, unlabelled_batch=1, crop=64
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
    """Three small stores and the architecture `tiny`."""
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    monkeypatch.setitem(PREPROCESSING, "tiny", PreprocessingConfig(spacing_mm=1.6, canvas=96))
    write_store(tmp_path / "labelled")
    write_store(tmp_path / "unlabelled", labelled=None, seed=1)
    write_store(tmp_path / "validation", [(8, 58, 62)], seed=2)
    return Workplace(tmp_path)
