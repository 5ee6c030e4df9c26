"""The quality report of a segmented case, and the index of a batch's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flarekit.labels import LabelSet
from flarekit.pipeline.maps import UncertaintyMap
from flarekit.pipeline.outcome import CaseOutcome
from flarekit.pipeline.segmentation import Segmentation
from flarekit.report.by_slice import means
from flarekit.report.index import IndexEntry
from flarekit.report.page import ReportCase
from flarekit.volumes import Volume
from flarekit.volumes.maps import STEPS


def report_case(
    volume: Volume,
    segmentation: Segmentation,
    labels: LabelSet,
    sidecar: Mapping[str, Any],
    uncertainty: UncertaintyMap | None,
) -> ReportCase:
    """What the report shows; `labels` are the model's, the segmentation has those organs of them that were wanted."""
    organs = len(labels.names)
    certainty = np.full((organs, len(volume.array)), np.nan)
    certainty[[labels.class_of(organ.name) - 1 for organ in segmentation.organs]] = segmentation.certainty
    unsure = None if uncertainty is None else means(uncertainty.steps, segmentation.classes, organs) / STEPS
    return ReportCase(
        volume=volume,
        classes=segmentation.classes,
        labels=labels,
        sidecar=sidecar,
        certainty=certainty,
        uncertainty=unsure,
    )


def index_entries(outcomes: Sequence[CaseOutcome], *, split: bool) -> list[IndexEntry]:
    """A batch's cases for its index; `split` masks lie in folders, with their reports."""
    return [
        IndexEntry(name=outcome.name, failure=outcome.error)
        if outcome.report is None
        else IndexEntry.of(outcome.name, outcome.report, f"{outcome.name}{'/' if split else '_'}report.html")
        for outcome in outcomes
    ]
