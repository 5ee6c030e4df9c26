"""The chain from a CT to its mask: reference module, selection, propagation, and the files that come of it."""

from flarekit.pipeline.segment import segment
from flarekit.pipeline.segmentation import OrganResult, SecondPass, Segmentation
from flarekit.pipeline.sidecar import sidecar

__all__ = ["OrganResult", "SecondPass", "Segmentation", "segment", "sidecar"]
