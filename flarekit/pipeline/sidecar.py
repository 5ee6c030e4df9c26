"""The JSON beside a mask: what it holds, how sure it is, and what made it. No path and no patient tag is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flarekit import __version__
from flarekit.checkpoints import Card
from flarekit.config import toml
from flarekit.config.segment import SegmentConfig
from flarekit.pipeline.flags import Flag
from flarekit.pipeline.segmentation import SecondPass, Segmentation
from flarekit.renumbering import WrittenLabels
from flarekit.report.slice_numbers import number_in_file
from flarekit.report.statistics import OrganStatistics
from flarekit.volumes import Volume

FORMAT = {"format": "flarekit-segmentation", "version": 1}


def sidecar(
    segmentation: Segmentation,
    volume: Volume,
    models: Mapping[str, Card],
    config: SegmentConfig,
    *,
    flags: Iterable[Flag] = (),
    statistics: Mapping[str, OrganStatistics] | None = None,
) -> dict[str, Any]:
    """A plain dictionary for the file; `models` are the checkpoints by the part they played.

    Slice numbers are 0-based along the file's axial axis, lists of them ascending; positions in mm grow upwards.
    `statistics` are by organ.
    """
    return {
        **FORMAT,
        "flarekit": __version__,
        "image": volume.path.name if volume.path else None,
        "hu_offset": volume.hu_offset,
        "models": {part: model_entry(card) for part, card in models.items()},
        "flags": [flag.to_json() for flag in flags],
        "organs": [_organ(asdict(organ), statistics or {}) for organ in segmentation.organs],
        "sampled": _numbers(volume, segmentation.sampled),
        "second_pass": _second_pass(volume, segmentation.second_pass),
        "references": [
            {"slice": number, "mm": round(volume.z_mm(number_in_file(volume, number)), 2)}
            for number in _numbers(volume, segmentation.references)
        ],
        "seconds": {stage: round(seconds, 3) for stage, seconds in segmentation.seconds.items()},
        "settings": toml.to_dict(config),
    }


def numbered(report: Mapping[str, Any], labels: WrittenLabels) -> dict[str, Any]:
    """The same JSON of a mask that is numbered by `labels`."""
    ids = {name: number for number, name in labels.names.items()}
    organs = [organ | {"id": ids[organ["name"]]} for organ in report["organs"]]
    names = {"labels": {str(number): name for number, name in labels.names.items()}} if "labels" in report else {}
    return {**report, **names, "organs": organs}


def model_entry(card: Card) -> dict[str, str]:
    """Which checkpoint it was, to the byte."""
    return {"checkpoint": card.reference, "weights_sha256": card.weights_sha256}


def _second_pass(volume: Volume, second: SecondPass | None) -> dict[str, list[Any]] | None:
    if second is None:
        return None
    return {
        "doubtful": list(second.doubtful),
        "slices": _numbers(volume, second.slices),
        "found": list(second.found),
    }


def _numbers(volume: Volume, slices: Sequence[int]) -> list[int]:
    return sorted(number_in_file(volume, z) for z in slices)


def _organ(entry: dict[str, Any], statistics: Mapping[str, OrganStatistics]) -> dict[str, Any]:
    entry["volume_ml"] = round(entry["volume_ml"], 3)
    for measure in ("confidence", "certainty", "agreement"):
        if entry[measure] is not None:
            entry[measure] = round(entry[measure], 4)
    measured = statistics.get(entry["name"])
    return entry if measured is None else entry | {"statistics": measured.to_json()}
