"""A reference network run by ONNX Runtime on the CPU: the same logits as torch's up to rounding, in less time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flarekit.checkpoints.onnx_cache import OnnxCache, require_onnx
from flarekit.models import DeepLabV3Plus, TransUNet


class OnnxNetwork:
    """Called like the network it was made from, which is exported at the first slice of every new size.

    Only the size seen last is held in memory. As many threads as torch has. Raises MissingDependency without the
    extra `onnx`, and when called OutputError if the exported network cannot be kept.
    """

    def __init__(self, network: TransUNet | DeepLabV3Plus, cache: OnnxCache | None = None) -> None:
        require_onnx()
        self.network, self.cache = network, cache or OnnxCache.default()
        self._size: tuple[int, int] | None = None
        self._session: Any = None

    def __call__(self, image: Tensor, position: Tensor) -> Tensor:
        """Logits (B, classes, H, W) of image (B, 3, H, W) at position (B,), float32 on the CPU."""
        self.prepare((image.shape[2], image.shape[3]))
        (logits,) = self._session.run(["logits"], {"image": image.numpy(), "position": position.numpy()})
        return torch.from_numpy(logits)

    def prepare(self, size: tuple[int, int]) -> None:
        """Make slices of (H, W) pixels ready to run."""
        if size != self._size:
            self._size = self._session = None  # frees the last size's memory before the next takes its own
            self._session = _session(str(self.cache.file(self.network, size)))
            self._size = size


def _session(path: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait for work by spinning would take the cores from torch and from the other network's.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
