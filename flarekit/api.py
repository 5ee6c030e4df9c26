"""flarekit from Python.

import flarekit

result = flarekit.segment("case.nii.gz")
print(result.volumes_ml["liver"], result.confidence["liver"])
result.save("mask.nii.gz")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flarekit.config.segment import OutputConfig, SegmentConfig
from flarekit.data.layouts import CaseFiles
from flarekit.models.device import device_for
from flarekit.pipeline import Segmentation as Found
from flarekit.pipeline.case import Recipe, segment_volume
from flarekit.pipeline.models import ModelChoice
from flarekit.pipeline.outputs import OutputFiles
from flarekit.pipeline.reading import admitted, read_case
from flarekit.pipeline.sidecar import numbered
from flarekit.pipeline.writing import write_case
from flarekit.renumbering import WrittenLabels
from flarekit.volumes import Volume
from flarekit.volumes.formats import names_segmentation, stem
from flarekit.volumes.hu import AUTO, HuOffset

REFERENCE, PROPAGATION = "starter-reference", "starter-propagation"


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A segmented CT."""

    array: np.ndarray  # (I, J, K) uint8 or uint16, ids on the image's own axes; 0 is background
    affine: np.ndarray  # (4, 4) float64, voxel (i, j, k, 1) to RAS+ mm
    names: dict[int, str]  # id to organ
    confidence: dict[str, float | None]  # by organ, 0..1, from certainty and the networks' agreement; None if not found
    volumes_ml: dict[str, float]  # by organ
    flags: tuple[str, ...]  # what a human should look at, a sentence each
    report: dict[str, Any]  # what the JSON beside the mask says
    _volume: Volume = field(repr=False)
    _found: Found = field(repr=False)
    _labels: WrittenLabels = field(repr=False)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the label map as .nii, .nii.gz, .nrrd or .mha, organs named in its header, and the JSON beside it.

        A name that ends in .seg.nrrd makes it a segmentation of 3D Slicer; one in .dcm a DICOM-SEG, if the CT is DICOM,
        whose segments are numbered from 1. Raises OutputError, InputError or MissingDependency.
        """
        dicom_seg = names_segmentation(Path(path))
        labels = self._labels.as_segments() if dicom_seg else self._labels
        config = OutputConfig(colours=False, dicom_seg=dicom_seg)
        outputs = OutputFiles(mask=Path(path), labels=labels, config=config)
        replaced = outputs.check(self._volume.path, overwrite=overwrite)
        report = numbered(self.report, labels) | {"outputs": outputs.names}
        write_case(outputs, self._volume, self._found, report, overwrite=replaced)


def segment(
    image: str | Path | Volume,
    *,
    model: str = REFERENCE,
    propagation_model: str | None = PROPAGATION,
    organs: str | Sequence[str] | None = None,
    label_map: str | None = None,
    statistics: bool = False,
    config: SegmentConfig | None = None,
    device: str = "auto",
    backend: str = "torch",
    challenge: bool = False,
    series: str | None = None,
    hu_offset: HuOffset = AUTO,
    force: bool = False,
) -> Segmentation:
    """The organs of a CT: the same as `flarekit segment` finds, whose options these are.

    `image` is a file, a DICOM folder or its zip, or a Volume in HU, as from `Volume.from_source(array, affine)`.
    `propagation_model` None runs the reference checkpoint on every slice. `organs` are names, in a list or with commas
    between. The models of the last call are kept, and used again where they are asked for again. Raises
    FlarekitError: InputError for what is no CT in HU (not with `force`), UsageError, CheckpointError,
    MissingDependency without the device, OutOfMemory.
    """
    wanted = OutputConfig(
        organs=organs if organs is None or isinstance(organs, str) else ",".join(organs),
        label_map=label_map,
        statistics=statistics,
        colours=False,
    )
    models = ModelChoice.of(model, propagation_model, device_for(backend, device), challenge=challenge, backend=backend)
    recipe = Recipe.of(models, config, wanted, force=force)
    if isinstance(image, Volume):
        volume, doubts, made_from = image, admitted(image, force=force), {}
    else:
        case = CaseFiles(name=stem(Path(image)), image=Path(image), series=series, hu_offset=hu_offset)
        volume, doubts = read_case(case, force=force)
        made_from = recipe.identity(case)
    found, report = segment_volume(volume, doubts, recipe, models.load())
    return _result(volume, found, report | made_from, recipe.labels)


def _result(volume: Volume, found: Found, report: dict[str, Any], labels: WrittenLabels) -> Segmentation:
    return Segmentation(
        array=volume.like(labels.to_ids(found.classes)).to_source_axes(),
        affine=volume.source.affine,
        names=labels.names,
        confidence={organ.name: organ.confidence for organ in found.organs},
        volumes_ml={organ.name: organ.volume_ml for organ in found.organs},
        flags=tuple(flag["text"] for flag in report["flags"]),
        report=report,
        _volume=volume,
        _found=found,
        _labels=labels,
    )
