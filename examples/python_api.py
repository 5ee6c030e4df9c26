"""Segment a CT from Python: `python examples/python_api.py case.nii.gz mask.nii.gz`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from flarekit.config.segment import SegmentConfig
from flarekit.pipeline import segment
from flarekit.pipeline.files import load_models
from flarekit.volumes import read_volume, write_labels


def main(image: Path, mask: Path) -> None:
    models = load_models("starter-reference", "starter-propagation", torch.device("cpu"))
    volume = read_volume(image)
    segmentation = segment(volume, models.reference, models.propagation, SegmentConfig())
    for organ in segmentation.organs:
        print(f"{organ.name:22s} {organ.volume_ml:8.1f} mL  confidence {organ.confidence or 0:.2f}")
    write_labels(mask, volume.like(models.reference.labels.to_ids(segmentation.classes)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
