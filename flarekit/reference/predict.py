"""Per-slice organ probabilities of a CPS pair: in inference the two networks' results are added (paper, 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import cast

import torch
from torch import Tensor, nn

from flarekit.checkpoints import Card, Loaded
from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.config.reference import BACKENDS
from flarekit.data.slices import VolumeSlices
from flarekit.errors import CheckpointError, UsageError
from flarekit.labels import LabelSet
from flarekit.models import DeepLabV3Plus, TransUNet
from flarekit.models.layout import laid_out_for
from flarekit.reference.memory import halved
from flarekit.reference.onnx import OnnxNetwork
from flarekit.reference.votes import Votes


class ReferenceModule:
    """The networks of a reference checkpoint on one device, run by torch or by ONNX Runtime.

    Raises CheckpointError on another kind; UsageError on another backend, or when ONNX Runtime would have to run
    on a device other than the CPU; MissingDependency when it is not installed. Weights come to the device when they
    are first needed; `rest` takes them off it again.
    """

    def __init__(
        self, loaded: Loaded, *, device: torch.device | str = "cpu", backend: str = "torch", batch_slices: int = 4
    ) -> None:
        if loaded.card.kind != "reference":
            raise CheckpointError(f"{loaded.card.reference} is no reference checkpoint")
        self.card: Card = loaded.card
        self.device, self.backend, self.batch_slices = torch.device(device), backend, batch_slices
        require_backend(backend, self.device)
        self._modules = [network.eval() for network in loaded.networks.values()]
        if backend == "torch":
            self._modules = [laid_out_for(network, self.device) for network in self._modules]
        self.networks = [_runner(network, backend) for network in self._modules]
        self._swapped: Tensor | None = None  # the class that each becomes in a mirror; None: nothing is mirrored

    @property
    def labels(self) -> LabelSet:
        """The organs it segments."""
        return self.card.labels

    @property
    def preprocessing(self) -> PreprocessingConfig:
        """How its slices have to be made."""
        return self.card.preprocessing

    def probabilities(
        self, slices: VolumeSlices, numbers: Sequence[int], votes: Votes | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Slice number and float32 probabilities (C, h, w) on the network grid, in the order of `numbers`.

        `votes` get what each network sees by itself.
        Where the device has too little memory, from then on fewer slices are predicted at a time. Raises OutOfMemory
        where one is too many.
        """
        start = 0
        while start < len(numbers):
            batch = numbers[start : start + self.batch_slices]
            predicted = self._predicted(slices, batch, votes)
            if predicted is None:
                self.batch_slices = halved(len(batch), "slices", self.device)
                continue
            yield from zip(batch, predicted, strict=True)
            start += len(batch)

    def flipping(self) -> ReferenceModule:
        """The same networks, each asked about every slice left for right as well, in twice the time.

        Both answers are averaged, after paired organs of the second have changed places. It is of use to networks
        that learned from reflected slices: to others a liver on the left is no liver.
        """
        other = copy(self)
        other._swapped = torch.from_numpy(self.labels.mirror_table()[: self.labels.classes]).long()
        return other

    def rest(self) -> None:
        """Take the networks off their device until they are needed again, which leaves its memory to others."""
        for network in self._modules:
            network.to("cpu")

    def _predicted(self, slices: VolumeSlices, batch: Sequence[int], votes: Votes | None) -> Tensor | None:
        """None where the device has too little memory."""
        try:
            images, positions = slices.images(batch).to(self.device), slices.positions(batch).to(self.device)
            return self.predict(images, positions, votes)
        except torch.OutOfMemoryError:
            return None

    def _softmax(self, run: Callable[[Tensor, Tensor], Tensor], images: Tensor, positions: Tensor) -> Tensor:
        seen = run(images, positions).float().softmax(dim=1)
        if self._swapped is None:
            return seen
        mirrored = run(images.flip(-1), positions).float().softmax(dim=1)
        return (seen + mirrored.flip(-1)[:, self._swapped]) / 2

    @torch.inference_mode()
    def predict(self, images: Tensor, positions: Tensor, votes: Votes | None = None) -> Tensor:
        """Probabilities (B, C, h, w) of images (B, 3, h, w) in 0..1 at positions (B,) in 0..1.

        The softmaxes of all networks are summed and divided by their number. Raises CheckpointError when the
        networks give values that are not finite: no mask is made of those.
        """
        for network in self._modules:
            network.to(self.device)
        each = [self._softmax(run, images, positions) for run in self.networks]
        total = sum(each[1:], each[0])
        if not total.isfinite().all():
            raise CheckpointError(
                f"{self.card.reference} gives values that are not finite", remedy="Train it again, or use another."
            )
        mean = total / len(self.networks)
        if votes is not None:  # last, lest slices that do not fit into the device's memory count twice
            votes.add(each)
        return mean


def require_backend(backend: str, device: torch.device) -> None:
    """Raises UsageError when there is no such backend, or it does not run on that device."""
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}", remedy=f"Use one of {', '.join(BACKENDS)}.")
    if backend == "onnx" and device.type != "cpu":
        raise UsageError(
            f"the backend onnx runs on the CPU, not on {device}", remedy="Use --device cpu, or --backend torch."
        )


def _runner(network: nn.Module, backend: str) -> Callable[[Tensor, Tensor], Tensor]:
    if backend == "torch":
        return network
    return OnnxNetwork(cast(TransUNet | DeepLabV3Plus, network))
