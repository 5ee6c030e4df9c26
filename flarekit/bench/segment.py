"""`flarekit segment` as a challenge's organisers run it: every case in a process of its own, sampled throughout."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import psutil
from tqdm import tqdm

from flarekit.bench.efficiency import Areas, CaseCost
from flarekit.bench.gpu_memory import Card
from flarekit.bench.sampling import SampledRun, run_sampled
from flarekit.config.phantom import RECIPES
from flarekit.data.layouts import CaseFiles, case_name
from flarekit.phantom import canonical_volume, paint, synthetic_anatomy
from flarekit.volumes import Volume, write_volume

COMMAND = (sys.executable, "-m", "flarekit")
_EXTENT_MM = (288.0, 384.0, 384.0)  # z, h, w, of the painted CT: from the lower edge of the kidneys to the heart
_SEED = 22


def bench_segment(
    cases: Sequence[CaseFiles], masks: Path, options: Sequence[str], card: Card | None = None
) -> list[CaseCost]:
    """What each of the cases took, one after the other; progress goes to stderr when that is a terminal."""
    progress = tqdm(cases, desc="cases", unit="case", disable=None, leave=False)
    return [bench_case(case, masks, options, card) for case in progress]


def bench_case(case: CaseFiles, masks: Path, options: Sequence[str], card: Card | None = None) -> CaseCost:
    """Segment a case to MASKS/NAME.nii.gz by `flarekit segment` with these options, and say what that took.

    Also where it fails. Raises KeyboardInterrupt when interrupted; then the process has ended.
    """
    mask = masks / f"{case.name}.nii.gz"
    command = [*COMMAND, "--quiet", "segment", str(case.image), "-o", str(mask)]
    run = run_sampled([*command, "--no-colours", "--json", *options], card.used_mb if card else None)
    error = _error(run, case.image.parent, masks)
    stages_s = {} if error else json.loads(run.stdout)["seconds"]
    return CaseCost(
        name=case.name,
        error=error,
        shape=None if error else _shape(mask),
        run_s=run.elapsed_s,
        loading_s=None if error else run.elapsed_s - sum(stages_s.values()),
        stages_s=stages_s,
        gpu_before_mb=run.gpu_before_mb,
        areas=Areas.under(run.samples, psutil.cpu_count() or 1),
        sampling_share=run.sampling_share,
        samples=run.samples,
    )


def painted_case(folder: Path, shape: tuple[int, int, int]) -> CaseFiles:
    """`painted_ct` as a file in the folder. Raises OutputError."""
    image = folder / f"painted_{'x'.join(map(str, shape))}.nii.gz"
    write_volume(image, painted_ct(shape))
    return CaseFiles(name=case_name(image), image=image)


def painted_ct(shape: tuple[int, int, int]) -> Volume:
    """A CT (Z,H,W) of a made-up patient, always the same one: the upper abdomen, however many voxels that is."""
    z_mm, h_mm, w_mm = (extent / size for extent, size in zip(_EXTENT_MM, shape, strict=True))
    spacing_mm = z_mm, h_mm, w_mm
    classes = synthetic_anatomy(_SEED, spacing_mm, shape)
    return canonical_volume(paint(classes, spacing_mm, RECIPES["plain"], _SEED), spacing_mm)


def _shape(mask: Path) -> tuple[int, ...]:
    image = nibabel.load(mask)
    assert isinstance(image, nibabel.Nifti1Image)
    return image.shape


def _error(run: SampledRun, *folders: Path) -> str:
    """Why the run failed, one line without the folders; "" where it did not."""
    if run.code == 0:
        return ""
    if run.code < 0:
        return f"ended by {signal.Signals(-run.code).name}, as the system does when memory runs out."
    lines = [line.strip() for line in run.stderr.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error: ")] or lines[-1:] or [f"exit code {run.code}"]
    reason = said[0].removeprefix("error: ")
    for folder in folders:
        reason = reason.replace(f"{folder}/", "")
    return reason
