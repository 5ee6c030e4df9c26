"""Painted CT: images drawn on label maps, or on anatomy drawn from nothing, for training, tests and the demo.

What is named here is imported when it is asked for: anatomy alone needs none of the libraries that read volumes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULE_OF = {
    "synthetic_anatomy": "anatomy",
    "Tissue": "tissues",
    "write_tissue_store": "tissue_store",
    **dict.fromkeys(("DatasetPlan", "Part", "find_maps", "write_dataset"), "dataset"),
    **dict.fromkeys(("canonical_volume", "paint", "paint_case", "paint_tissues"), "painting"),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
