"""Where a volume's voxels come from in DICOM: what a segmentation of them has to refer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flarekit.volumes.dicom import tags
from flarekit.volumes.dicom.slices import Slice


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The slices of a volume, in the order of its file's third axis, and the patient that they are of."""

    slices: tuple[Slice, ...] = field(repr=False)
    head: bytes = field(repr=False)  # the first one's file up to its pixels: it names the patient

    @classmethod
    def of(cls, slices: Sequence[Slice]) -> Origin:
        """The origin of the volume that these slices become. Raises OSError when the first one's file is gone."""
        first = slices[0]
        with first.path.open("rb") as file:
            return cls(slices=tuple(slices), head=file.read(first.header.content.pixels[0][0]))

    @property
    def multi_frame(self) -> bool:
        """Whether the slices are frames of an enhanced image, not images of their own."""
        return bool(self.slices[0].header.elements.items(tags.FRAME_GROUPS))

    def stated(self, tag: int) -> list[str]:
        """What the files say there, each text once; "" where one says nothing."""
        return sorted({slice_.header.elements.text(tag) for slice_ in self.slices})
