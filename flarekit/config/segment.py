"""How `segment` turns a case into a mask."""

from __future__ import annotations

from dataclasses import dataclass, field

from flarekit.config.propagation import PropagationConfig
from flarekit.config.reference import SamplingConfig, SecondPassConfig, SelectionConfig


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """Every choice between a CT and its mask that a checkpoint does not make."""

    sampling: SamplingConfig = field(default_factory=SamplingConfig)  # the first look
    second_pass: SecondPassConfig = field(default_factory=SecondPassConfig)  # the second, where organs are in doubt
    selection: SelectionConfig = field(default_factory=SelectionConfig)  # of the references among the slices seen
    propagation: PropagationConfig = field(default_factory=PropagationConfig)  # from the references to the rest
