"""Options that several commands share, so that one word has one meaning everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flarekit.config.propagation import PRECISIONS
from flarekit.config.reference import BACKENDS
from flarekit.errors import UsageError

if TYPE_CHECKING:
    import torch

    from flarekit.labels import LabelSet

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        help=f"What runs the reference module: {', '.join(BACKENDS)}. onnx (install flarekit[onnx]) is faster on a "
        "CPU, and runs there only; it exports the networks once. The propagation is always run by torch.",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        help=f"What the propagation computes in: {', '.join(PRECISIONS)}; auto is fp16 on a CUDA GPU and fp32 "
        "elsewhere, where halves are slow.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="Processes beside this one; with 0 this one does the work.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="Work on a dask.distributed cluster, as tcp://host:8786, in place of --workers. Its workers need "
        "flarekit, and the same files under the same paths. Install flarekit[distributed].",
    ),
]
Series = Annotated[
    str | None,
    typer.Option(
        "--series",
        help="Which DICOM series of a folder that holds several: its number, 2:1 for a phase of it, or its UID.",
    ),
]
HuOffset = Annotated[
    str,
    typer.Option(
        "--hu-offset",
        help="Taken off the CT's values: auto (1024 where they are plainly HU + 1024), none, or a number of HU.",
    ),
]
Challenge = Annotated[
    bool,
    typer.Option(
        "--challenge",
        help="Refuse checkpoints that are pretrained or saw extra data, as FLARE's rules do; their card says so.",
    ),
]
LabelsFile = Annotated[
    Path | None,
    typer.Option("--dataset", help="A dataset.json with the organs' names and ids; FLARE22's 13 without it."),
]


def label_set(dataset: Path | None) -> LabelSet:
    """The organs that `--dataset` names, FLARE22's without it. Raises InputError."""
    from flarekit.labels import FLARE22, read_dataset_json

    return FLARE22 if dataset is None else read_dataset_json(dataset)


def resolve_device(name: str) -> torch.device:
    """See `flarekit.models.device`, which is imported once it is needed."""
    from flarekit.models import device

    return device.resolve_device(name)


def device_for(backend: str, name: str) -> torch.device:
    """See `flarekit.models.device`."""
    from flarekit.models import device

    return device.device_for(backend, name)


def known_precision(name: str) -> str:
    """The precision of that name. Raises UsageError."""
    if name not in PRECISIONS:
        raise UsageError(f"--precision is one of {', '.join(PRECISIONS)}, got {name!r}")
    return name


def chosen_ids(organs: str | None, labels: LabelSet) -> set[int] | None:
    """The label ids that `--organs` names, None where it is not given. Raises UsageError."""
    if organs is None:
        return None
    wanted = [organ.strip() for organ in organs.split(",") if organ.strip()]
    if not wanted:
        raise UsageError(f"{organs!r} names no organ", remedy="Write liver,spleen or label ids such as 1,3.")
    return {int(o) if o.isdecimal() and len(o) < 10 else labels.ids[labels.class_of(o) - 1] for o in wanted}
