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


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """What is written of a segmented case, beside the label map and its JSON."""

    organs: str | None = None  # names with commas between, of those to write; None writes all
    label_map: str | None = None  # numbers to write them by, as `flarekit.renumbering.read_numbering` takes it
    split: bool = False  # one file an organ in place of one label map
    uncertainty: bool = False  # a map of the entropy, 0..1
    probabilities: bool = False  # a map of the probability, 0..1, for every organ
    statistics: bool = False  # HU, extent, pieces and cuts of every organ, in the JSON and as CSV
    preview: bool = False  # a PNG of the mask over the CT
    report: bool = False  # a web page to look the case over in, of a batch with an index; brings the statistics along
    colours: bool = True  # colour tables for ITK-SNAP and 3D Slicer; none with `split`
