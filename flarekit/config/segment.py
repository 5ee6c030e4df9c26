"""How `segment` turns a case into a mask."""

from __future__ import annotations

from dataclasses import dataclass, field

from flarekit.config import require
from flarekit.config.propagation import PropagationConfig
from flarekit.config.reference import SamplingConfig, SecondPassConfig, SelectionConfig
from flarekit.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """Every choice between a CT and its mask that a checkpoint does not make. Raises ValueError on wrong values."""

    flips: bool = False  # the reference module looks at slices left for right as well, and averages
    sampling: SamplingConfig = field(default_factory=SamplingConfig)  # the first look
    second_pass: SecondPassConfig = field(default_factory=SecondPassConfig)  # the second, where organs are in doubt
    selection: SelectionConfig = field(default_factory=SelectionConfig)  # of the references among the slices seen
    propagation: PropagationConfig = field(default_factory=PropagationConfig)  # from the references to the rest
    reach_mm2: float = 60.0  # of an organ on a slice, by which the reference module says that it reaches so far
    least_piece: float = 0.3  # of the largest piece's voxels, what a piece of a one-piece organ needs; 0 keeps all

    def __post_init__(self) -> None:
        require.positive(self, "reach_mm2")
        require.shares(self, "least_piece")


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """What is written of a segmented case, beside the label map and its JSON.

    Raises UsageError for what a DICOM-SEG has no place for.
    """

    organs: str | None = None  # names with commas between, of those to write; None writes all
    label_map: str | None = None  # numbers to write them by, as `flarekit.renumbering.read_numbering` takes it
    split: bool = False  # one file an organ in place of one label map
    dicom_seg: bool = False  # a DICOM-SEG in place of the label map: a segment an organ, numbered from 1
    uncertainty: bool = False  # a map of the entropy, 0..1
    probabilities: bool = False  # a map of the probability, 0..1, for every organ
    statistics: bool = False  # HU, extent, pieces and cuts of every organ, in the JSON and as CSV
    preview: bool = False  # a PNG of the mask over the CT
    report: bool = False  # a web page to look the case over in, of a batch with an index; brings the statistics along
    colours: bool = True  # colour tables for ITK-SNAP and 3D Slicer; none with `split` or `dicom_seg`

    def __post_init__(self) -> None:
        if self.dicom_seg and self.split:
            raise UsageError("a DICOM-SEG keeps the organs apart in one file", remedy="Leave out --split.")
        if self.dicom_seg and self.label_map is not None:
            raise UsageError(
                "the segments of a DICOM-SEG are numbered from 1, and known by their codes",
                remedy="Leave out --label-map.",
            )

    @property
    def ending(self) -> str:
        """Of the name of what holds the organs; none for a folder."""
        return "" if self.split else ".dcm" if self.dicom_seg else ".nii.gz"

    @property
    def tables(self) -> bool:
        """Whether colour tables lie beside the label map: a DICOM-SEG says its colours itself."""
        return self.colours and not self.split and not self.dicom_seg
