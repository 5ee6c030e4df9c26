"""Painted CT: images drawn on label maps, or on anatomy drawn from nothing, for training, tests and the demo."""

from flarekit.phantom.anatomy import synthetic_anatomy
from flarekit.phantom.dataset import DatasetPlan, Part, find_maps, write_dataset
from flarekit.phantom.painting import canonical_volume, paint, paint_case, paint_tissues
from flarekit.phantom.tissue_store import write_tissue_store
from flarekit.phantom.tissues import Tissue

__all__ = [
    "DatasetPlan",
    "Part",
    "Tissue",
    "canonical_volume",
    "find_maps",
    "paint",
    "paint_case",
    "paint_tissues",
    "synthetic_anatomy",
    "write_dataset",
    "write_tissue_store",
]
