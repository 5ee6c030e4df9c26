"""DICOM: the one CT that is meant in a folder, a zip or a file, and segmentations stored as DICOM-SEG.

| module | what it knows |
| --- | --- |
| `elements`, `tags` | the encoding, and the elements that are read |
| `header` | what a file is |
| `slices`, `series`, `stacking` | slices, the series and phases they form, the grid they lie on |
| `frames`, `decoding`, `codestream` | pixels, plain or compressed |
| `hounsfield` | HU |
| `segmentation` | DICOM-SEG |
| `placing`, `sources`, `levels` | which slices of a CT its frames lie on, or of what grid of their own |
| `origin`, `references`, `terms`, `quiet` | what a DICOM-SEG says of the CT it was drawn on, and of the organs in it |
| `segmentation_writing` | DICOM-SEG as it is written |
| `archive` | zip |
| `reading` | all of it |

Contours (RTSTRUCT) are not read.
"""

from flarekit.volumes.dicom.archive import is_archive
from flarekit.volumes.dicom.header import files_below, holds_dicom, holds_dicom_below
from flarekit.volumes.dicom.reading import is_dicom_file, is_segmentation_file, read_dicom, read_dicom_labels

__all__ = [
    "files_below",
    "holds_dicom",
    "holds_dicom_below",
    "is_archive",
    "is_dicom_file",
    "is_segmentation_file",
    "read_dicom",
    "read_dicom_labels",
]
