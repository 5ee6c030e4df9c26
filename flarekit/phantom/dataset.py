"""Data sets of painted CTs in FLARE22's layout: labelled, unlabelled, and the unlabelled ones' truth apart.

OUT/labelled/images/labelled_0001_0000.nii.gz       OUT/labelled/labels/labelled_0001.nii.gz
OUT/unlabelled/images/unlabelled_0001_0000.nii.gz   OUT/unlabelled-truth/unlabelled_0001.nii.gz
OUT/dataset.json (also in the two parts)            OUT/phantom.json
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from flarekit.config.phantom import PhantomRecipe
from flarekit.config.toml import to_dict
from flarekit.errors import InputError, OutOfMemory, OutputError
from flarekit.files import output_errors, require_existing, write_text
from flarekit.labels import FLARE22, LabelSet
from flarekit.parallel import Lost, run_cases
from flarekit.phantom.anatomy import synthetic_anatomy
from flarekit.phantom.manifest import NAME, Manifest, image_sha256, open_manifest
from flarekit.phantom.painting import canonical_volume, paint_case
from flarekit.volumes import Volume, read_labels, write_labels, write_volume
from flarekit.volumes.formats import SUFFIXES, stem

_SYNTHETIC_MM = 280.0  # height of anatomy drawn from nothing
_TRUTH = {"labelled": "labelled/labels", "unlabelled": "unlabelled-truth"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """The labelled or the unlabelled cases of a data set."""

    count: int = 0  # paintings
    maps: tuple[Path, ...] = ()  # label maps painted on in turn; anatomy drawn from nothing without any


@dataclass(frozen=True, kw_only=True)
class DatasetPlan:
    """Everything that decides a painted data set."""

    recipe: PhantomRecipe
    labelled: Part = Part()
    unlabelled: Part = Part()
    seed: int = 0
    spacing_mm: float = 1.6  # of the pixels
    size: int = 256  # pixels along both sides
    slice_mm: float | None = None  # distance between slices; drawn from the recipe without it
    organs: LabelSet = FLARE22  # of the label maps

    def __post_init__(self) -> None:
        if not 0.2 <= self.spacing_mm <= 10 or not 32 <= self.size <= 2048:
            raise ValueError(f"pixels of 0.2..10 mm, 32..2048 a side, got {self.spacing_mm} mm and {self.size}")
        if min(self.labelled.count, self.unlabelled.count) < 0 or self.labelled.count + self.unlabelled.count == 0:
            raise ValueError(f"at least one painting, got {self.labelled.count} and {self.unlabelled.count}")

    def to_json(self) -> dict[str, Any]:
        """What decides the images, by the names of the maps alone (no paths)."""
        return {
            "recipe": to_dict(self.recipe), "recipe_sha256": self.recipe.sha256(), "seed": self.seed,
            "spacing_mm": self.spacing_mm, "size": self.size, "slice_mm": self.slice_mm,
            "organs": self.organs.to_json(),
            "maps": {part: [stem(p) for p in getattr(self, part).maps] for part in _TRUTH},
            "count": {part: getattr(self, part).count for part in _TRUTH},
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Painting:
    """One case to paint."""

    name: str  # of the case
    part: str  # labelled or unlabelled
    source: Path | None  # its label map
    seed: tuple[int, int, int]  # data set's seed, part, number: does not depend on how many others there are

    def files(self, folder: Path) -> tuple[Path, Path]:
        """Where its image and its labels go."""
        image = folder / self.part / "images" / f"{self.name}_0000.nii.gz"
        return image, folder / _TRUTH[self.part] / f"{self.name}.nii.gz"


def write_dataset(
    folder: Path, plan: DatasetPlan, *, workers: int = 0, overwrite: bool = False
) -> dict[str, dict[str, Any]]:
    """Paint what is missing and return every case's record (part, source, seed, shape, image_sha256) by name.

    A stopped run goes on with the same arguments; a folder with other contents is only replaced with
    `overwrite`. Raises InputError for label maps that cannot be painted on, and OutputError.
    """
    _refuse_foreign(folder)
    manifest = open_manifest(folder, plan.to_json(), fresh=overwrite)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    manifest.write()  # before anything else, so that a run killed from here on can go on
    if overwrite:
        _remove_paintings(folder)
    jobs = [job for job in paintings(plan) if not _is_complete(job, folder, manifest)]
    _describe(folder, plan)
    for name, record in run_paintings(partial(paint_one, folder=folder, plan=plan), jobs, workers):
        manifest.add(name, record)
    wanted = {job.name for job in paintings(plan)}
    return {name: record for name, record in sorted(manifest.paintings.items()) if name in wanted}


def find_maps(inputs: Iterable[Path]) -> tuple[Path, ...]:
    """Label maps by name: the files given and those in the folders given. Raises InputError where there are none."""
    found: list[Path] = []
    for path in inputs:
        require_existing(path)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        maps = [file for file in files if file.name.lower().endswith(SUFFIXES) and not file.name.startswith(".")]
        if not maps:
            raise InputError("holds no label map", where=path, remedy=f"Give {', '.join(SUFFIXES)}.")
        found += maps
    return tuple(found)


def paintings(plan: DatasetPlan) -> list[Painting]:
    """All cases of a plan, in order."""
    return [
        Painting(
            name=f"{part}_{number + 1:04d}",
            part=part,
            source=maps[number % len(maps)] if (maps := getattr(plan, part).maps) else None,
            seed=(plan.seed, index, number),
        )
        for index, part in enumerate(_TRUTH)
        for number in range(getattr(plan, part).count)
    ]


def paint_one(painting: Painting, folder: Path, plan: DatasetPlan) -> tuple[str, dict[str, Any]]:
    """Paint and write one case, labels first; its name and its record. Raises InputError and OutputError."""
    torch.set_num_threads(1)
    image, labels = paint_case(
        anatomy_of(painting, plan), plan.recipe, painting.seed,
        spacing_mm=spacing_of(painting, plan), size=plan.size, organs=plan.organs,
    )  # fmt: skip
    image_file, label_file = painting.files(folder)
    write_labels(label_file, labels.like(plan.organs.to_ids(labels.array)), overwrite=True)
    write_volume(image_file, image, overwrite=True)
    return painting.name, record_of(painting, image)


def spacing_of(painting: Painting, plan: DatasetPlan) -> tuple[float, float, float]:
    """(z, h, w) mm of the grid it is painted on."""
    rng = np.random.default_rng((*painting.seed, 9))
    slice_mm = plan.slice_mm or round(float(rng.uniform(*plan.recipe.scanner.distance_mm)), 2)
    return slice_mm, plan.spacing_mm, plan.spacing_mm


def anatomy_of(painting: Painting, plan: DatasetPlan) -> Volume:
    """The classes that it is painted on, before they are warped. Raises InputError."""
    if painting.source is not None:
        ids = read_labels(painting.source)
        return ids.like(plan.organs.to_classes(ids.array, where=painting.source))
    spacing = (2.0, plan.spacing_mm, plan.spacing_mm)
    shape = (int(_SYNTHETIC_MM / spacing[0]), plan.size, plan.size)
    return canonical_volume(synthetic_anatomy(painting.seed, spacing, shape), spacing)


def record_of(painting: Painting, image: Volume) -> dict[str, Any]:
    """What the manifest says of it."""
    return {
        "part": painting.part,
        "source": stem(painting.source) if painting.source else "synthetic",
        "seed": list(painting.seed),
        "shape": list(image.array.shape),
        "spacing_mm": [round(mm, 6) for mm in image.spacing_mm],
        "image_sha256": image_sha256(image.array),
    }


def run_paintings(
    work: Callable[[Painting], tuple[str, dict[str, Any]]], jobs: Sequence[Painting], workers: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The names and records that `work` returns, as they are done, with a progress bar; in so many processes."""
    done = tqdm(
        run_cases(work, jobs, workers=workers),
        total=len(jobs), desc="painting", unit="case", disable=None, leave=False,
    )  # fmt: skip
    for painting, result in done:
        if isinstance(result, Lost):
            raise OutOfMemory(
                "was not painted: its worker process died twice, most likely for want of memory",
                where=painting.name,
                remedy="Run the same line again with fewer --workers: what was painted is kept.",
            )
        yield result


def _refuse_foreign(folder: Path) -> None:
    with output_errors(folder):
        if not folder.exists() or (folder / NAME).exists() or not any(folder.iterdir()):
            return
    raise OutputError(
        "holds files that are not of a painted data set", where=folder, remedy="Choose an empty or a new folder."
    )


def _remove_paintings(folder: Path) -> None:
    for part in ("labelled", "unlabelled", "unlabelled-truth"):
        shutil.rmtree(folder / part, ignore_errors=True)


def _is_complete(painting: Painting, folder: Path, manifest: Manifest) -> bool:
    return painting.name in manifest.paintings and all(file.exists() for file in painting.files(folder))


def _describe(folder: Path, plan: DatasetPlan) -> None:
    """Write dataset.json, which nnU-Net reads as well, into the folder and into the parts that there are."""
    organs = plan.organs
    content = {
        "name": folder.name,
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **dict(zip(organs.names, organs.ids, strict=True))},
        "pairs": [list(pair) for pair in organs.pairs],
        "numTraining": plan.labelled.count,
        "file_ending": ".nii.gz",
    }
    parts: Iterable[str] = [part for part in _TRUTH if getattr(plan, part).count]
    for target in (folder, *(folder / part for part in parts)):
        write_text(target / "dataset.json", json.dumps(content, indent=1) + "\n", overwrite=True)
