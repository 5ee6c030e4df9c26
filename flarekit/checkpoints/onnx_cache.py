"""Networks exported to ONNX, each kept for the next run in a folder whose files may be deleted at any time.

A file holds one network at one size of slices, any number of them: TransUNet's exporter does not follow sizes
that are left open. Its name says what it was made from and ends with the SHA-256 of its bytes, so that a network
trained further, another flarekit or a damaged file is never run by mistake.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from flarekit import __version__, files
from flarekit.checkpoints.registry import home
from flarekit.errors import MissingDependency
from flarekit.models import MODELS, DeepLabV3Plus, TransUNet

OPSET = 18  # of ONNX; onnxruntime knows it since 1.14
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
SUFFIX = ".onnx"

logger = logging.getLogger(__name__)


def require_onnx() -> None:
    """Raises MissingDependency unless all that exports and runs is installed."""
    if missing := [package for package in PACKAGES if importlib.util.find_spec(package) is None]:
        raise MissingDependency(
            f"--backend onnx needs {', '.join(missing)}, not installed here",
            remedy="Install flarekit[onnx], or use --backend torch.",
        )


@dataclass(frozen=True)
class OnnxCache:
    """Exported networks in one folder."""

    root: Path

    @classmethod
    def default(cls) -> OnnxCache:
        """The user's, beside the checkpoints."""
        return cls(home() / "onnx")

    def file(self, network: TransUNet | DeepLabV3Plus, size: tuple[int, int]) -> Path:
        """The network for slices of (H, W) pixels as a file, exported unless it is there undamaged.

        Its inputs are `image` (B, 3, H, W) and `position` (B,), its output `logits` (B, classes, H, W), all float32.
        The network is on the CPU and in evaluation mode. Raises OutputError when the folder cannot be written to.
        """
        stem = f"{_name(network)}-{size[0]}x{size[1]}-{_made_from(network)}"
        for path in self.root.glob(f"{stem}-*{SUFFIX}"):
            if files.sha256(path) == path.stem.rpartition("-")[2]:
                return path
            logger.warning("%s is damaged and made anew.", path)
            with files.output_errors(path):
                path.unlink(missing_ok=True)
        return self._export(stem, network, size)

    def _export(self, stem: str, network: TransUNet | DeepLabV3Plus, size: tuple[int, int]) -> Path:
        files.require_writable(self.root / stem)
        files.remove_leftovers(self.root)
        logger.info("Exporting %s to ONNX for slices of %d x %d, once ...", _name(network), *size)
        model = export(network, size)
        path = self.root / f"{stem}-{hashlib.sha256(model).hexdigest()}{SUFFIX}"
        with files.atomic_path(path, overwrite=True) as temporary:
            temporary.write_bytes(model)
        return path


def export(network: nn.Module, size: tuple[int, int]) -> bytes:
    """The network as an ONNX model for any number of slices of (H, W) pixels; takes some ten seconds."""
    batch = {0: torch.export.Dim.DYNAMIC}
    with torch.inference_mode(False), torch.no_grad():
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, *size), torch.zeros(2)),
            input_names=["image", "position"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=(batch, batch),
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString()


def _name(network: nn.Module) -> str:
    return next(name for name, kind in MODELS.items() if isinstance(network, kind))


def _made_from(network: TransUNet | DeepLabV3Plus) -> str:
    """16 hexadecimal digits of everything that the exported model depends on, its weights among it."""
    digest = hashlib.sha256(repr((__version__, torch.__version__, OPSET, network.config)).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
