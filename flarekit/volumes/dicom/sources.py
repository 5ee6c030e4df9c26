"""The slices of a CT that the frames of a DICOM-SEG say they were drawn on (PS3.3 C.7.6.16.2.6)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from flarekit.volumes.dicom import tags
from flarekit.volumes.dicom.elements import Elements
from flarekit.volumes.dicom.header import Header, read_header
from flarekit.volumes.dicom.origin import Origin


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What frames say of the slices of one CT."""

    of_frames: tuple[frozenset[int], ...]  # for each frame, the slices that it names, from 0 in the CT's order
    are_named: bool  # whether frames name images at all, of this CT or of others

    @property
    def are_here(self) -> bool:
        """Whether any frame names a slice of the CT."""
        return any(self.of_frames)


def sources_of(header: Header, frames: int, origin: Origin) -> Sources:
    """What the frames of a DICOM-SEG name of the CT; nothing where that part of the file is damaged."""
    slices: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for k, slice_ in enumerate(origin.slices):
        slices[slice_.header.elements.text(tags.SOP_UID)][slice_.frame + 1] = k
    named = [_images(groups) for groups in _groups(header, frames)]
    found = tuple(frozenset(k for image in images for k in _named(image, slices)) for images in named)
    return Sources(of_frames=found, are_named=any(named))


def _groups(header: Header, frames: int) -> list[tuple[Elements, ...]]:
    """For each frame, where its sources may be: in its own groups, and in those of all frames."""
    again = read_header(header.path, tags.SEQUENCES | tags.SOURCES)
    if again is None or len(own := again.elements.items(tags.FRAME_GROUPS)) != frames:
        return [()] * frames
    shared = again.elements.items(tags.SHARED_GROUPS)
    return [(group, *shared) for group in own]


def _images(groups: tuple[Elements, ...]) -> list[Elements]:
    derivations = [item for group in groups for item in group.items(tags.DERIVATION)]
    return [image for derivation in derivations for image in derivation.items(tags.SOURCE_IMAGE)]


def _named(image: Elements, slices: dict[str, dict[int, int]]) -> list[int]:
    """The slices in an image: of a multi-frame one, those of the frames that are named, or of all."""
    inside = slices.get(image.text(tags.REFERENCED_IMAGE), {})
    numbers = image.numbers(tags.REFERENCED_FRAME)
    return [k for frame, k in inside.items() if not numbers or frame in numbers]
