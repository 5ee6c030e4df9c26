"""Slice stores of tissues: what `phantom` would paint, before it is given HU, for training that paints as it reads.

    OUT/labelled_0001.h5 ...   OUT/store.json   OUT/phantom.json

The `hu` of such a case holds Tissue ids; `store.json` names the recipe that `flarekit.phantom.repaint` reads them by.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flarekit.data.case_header import CaseHeader
from flarekit.data.case_writing import write_case
from flarekit.data.compression import DEFAULT
from flarekit.data.store import SliceStore, StoreConfig
from flarekit.errors import OutputError, UsageError
from flarekit.files import output_errors, remove_leftovers
from flarekit.phantom.dataset import (
    DatasetPlan,
    Painting,
    anatomy_of,
    paintings,
    record_of,
    run_paintings,
    spacing_of,
)
from flarekit.phantom.manifest import NAME, image_sha256, open_manifest
from flarekit.phantom.painting import paint_tissues, warp_case


def write_tissue_store(
    folder: Path, plan: DatasetPlan, *, compression: str | None = None, workers: int = 0, overwrite: bool = False
) -> dict[str, dict[str, Any]]:
    """Store what is missing and return every case's record by name, as `write_dataset` does.

    Raises UsageError for a plan with unlabelled cases and for a compression that the store was not made with,
    InputError for label maps that cannot be painted on, and OutputError.
    """
    if plan.unlabelled.count:
        raise UsageError(
            "tissues are stored with their labels", remedy="Leave --unlabelled out; train with --unlabelled STORE."
        )
    with output_errors(folder):
        if folder.exists() and not (folder / NAME).exists() and any(folder.iterdir()):
            raise OutputError("holds files that are not painted", where=folder, remedy="Choose a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    manifest = open_manifest(folder, plan.to_json() | {"tissues": True}, fresh=overwrite)
    manifest.write()
    config = StoreConfig(labels=plan.organs, tissues=plan.recipe.name, compression=compression or DEFAULT)
    store = SliceStore.open_or_plan(folder, config)
    if compression is not None:
        store.require_compression(compression)
    jobs = [j for j in paintings(plan) if j.name not in manifest.paintings or not store.case_path(j.name).exists()]
    for name, record in run_paintings(partial(store_one, store=store, plan=plan), jobs, workers):
        manifest.add(name, record)
    wanted = {job.name for job in paintings(plan)}
    return {name: record for name, record in sorted(manifest.paintings.items()) if name in wanted}


def store_one(painting: Painting, store: SliceStore, plan: DatasetPlan) -> tuple[str, dict[str, Any]]:
    """Store one case; its name and its record. Raises InputError and OutputError."""
    torch.set_num_threads(1)
    labels = warp_case(
        anatomy_of(painting, plan), plan.recipe, painting.seed,
        spacing_mm=spacing_of(painting, plan), size=plan.size, organs=plan.organs,
    )  # fmt: skip
    tissues = labels.like(
        paint_tissues(labels.array, labels.spacing_mm, plan.recipe, painting.seed, organs=plan.organs)
    )
    header = CaseHeader(
        name=painting.name,
        source=labels.source,
        source_name=painting.name,
        source_sha256=image_sha256(tissues.array),
        label_set=plan.organs,
        labelled=tuple(range(1, plan.organs.classes)),
        labels_sha256=image_sha256(labels.array),
    )
    write_case(
        store.case_path(painting.name), header, tissues.array.astype(np.int16), labels.array,
        compression=store.config.compression, overwrite=True, before_visible=store.settle,
    )  # fmt: skip
    return painting.name, record_of(painting, tissues)
