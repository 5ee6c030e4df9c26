"""A painted case whose mask is known, and networks that read it off the image or misread it on purpose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import tiny_networks
import torch
from torch import Tensor, nn

from flarekit.checkpoints import Card, Loaded, Registry
from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.consensus import MemberEntry
from flarekit.consensus.members import ReferenceMember
from flarekit.labels import LabelSet
from flarekit.models import build
from flarekit.reference import ReferenceModule
from flarekit.volumes import Volume

ORGANS = LabelSet(name="two", names=("block", "pea"), ids=(4, 9))
PREPROCESSING = PreprocessingConfig(spacing_mm=2.0, canvas=64)
SPACING_MM = (4.0, 2.0, 2.0)  # z, h, w: the network's own in plane, so that nothing is resampled
SHAPE = (12, 40, 52)  # z, h, w
HU = (0, 100, 200)  # of background, block and pea


class Reader(nn.Module):
    """Knows a class by its brightness in the abdomen window; `blind` classes look like background to it."""

    def __init__(self, *, blind: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.seen: list[float] = []
        self.fails_at: float | None = None  # a slice's position
        self.blind = blind
        self.brightness = nn.Parameter(torch.tensor([(hu + 150) / 400 for hu in HU]))

    def forward(self, image: Tensor, position: Tensor) -> Tensor:
        self.seen += position.tolist()
        if self.fails_at in position.tolist():
            raise RuntimeError("no kernel for this slice\n(and a trace)")
        logits = -2000.0 * (image[:, :1] - self.brightness[None, :, None, None]).square()
        for index in self.blind:
            logits[:, 0] = torch.maximum(logits[:, 0], logits[:, index])
            logits[:, index] = -1e4
        return logits


@dataclass(frozen=True, eq=False)
class Ready:
    """A member of a consensus that is open already."""

    module: ReferenceModule

    @property
    def entry(self) -> MemberEntry:
        card = self.module.card
        return MemberEntry(name=card.reference, kind="checkpoint", weights_sha256=card.weights_sha256)

    @property
    def labels(self) -> LabelSet:
        return self.module.labels

    def file_of(self, case: str) -> None:
        return None

    def open(self, labels: LabelSet) -> ReferenceMember:
        return ReferenceMember(self.module)


def painted_classes() -> np.ndarray:
    """uint8 (Z, H, W): a block on slices 2 to 9 and a pea on slice 7 alone."""
    classes = np.zeros(SHAPE, dtype=np.uint8)
    classes[2:10, 8:28, 10:30] = 1
    classes[7, 12:22, 36:46] = 2
    return classes


def painted_volume(slices: int = SHAPE[0]) -> Volume:
    """The CT of `painted_classes`, of so many slices from the lowest, over and over."""
    hu = np.array(HU, dtype=np.int16)[np.resize(painted_classes(), (slices, *SHAPE[1:]))]
    z, h, w = SPACING_MM
    return Volume.from_source(hu.transpose(2, 1, 0), np.diag([-w, -h, z, 1.0]))


def loaded(*networks: nn.Module, kind: str = "reference", name: str = "double") -> Loaded:
    """A checkpoint that was never on a disk."""
    card = Card(
        kind=kind,
        name=name,
        version=1,
        networks={},
        preprocessing=PREPROCESSING,
        labels=ORGANS,
        weights_sha256=f"hash of {name}",
    )
    names = ["stcn"] if kind == "propagation" else [f"network{i}" for i in range(len(networks))]
    return Loaded(card, dict(zip(names, networks, strict=True)))


def publish_tiny(name: str, *, seed: int = 5, kind: str = "reference", labels: LabelSet = ORGANS) -> Card:
    """A tiny checkpoint with random weights in the default registry; those of seeds 5 and 10 find both organs."""
    torch.manual_seed(seed)
    deeplab = replace(tiny_networks.DEEPLAB, classes=labels.classes)
    configs = {"deeplabv3plus": deeplab} if kind == "reference" else {"stcn": tiny_networks.STCN}
    card = Card(kind=kind, name=name, networks=configs, preprocessing=PREPROCESSING, labels=labels)
    return Registry.default().publish(card, {key: build(config) for key, config in configs.items()})


def painted_ct() -> Volume:
    """`painted_volume` with fat around the organs and air in front: what is segmented has to look like a CT."""
    volume = painted_volume()
    hu = np.where(volume.array == HU[0], np.int16(-150), volume.array)
    hu[:, 0] = -1000
    return volume.like(hu)
