"""Masks with their JSON beside the truth: is `segment` less sure of an organ where it is wrong?"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from flarekit.data.layouts import case_name, volumes_in
from flarekit.errors import FlarekitError, InputError
from flarekit.evaluation.consensus import Judged, JudgedCase, JudgedOrgan, TrueMasks
from flarekit.evaluation.consensus_report import ConsensusReport, Quality, quality_of, report_on
from flarekit.evaluation.dice import Overlap
from flarekit.volumes import read_labels, require_same_grid
from flarekit.volumes.writing import sidecar_path

CONFIDENCE = "confidence"  # the one score there is

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ConfidenceReport:
    """What the confidence of masks is worth."""

    cases: ConsensusReport  # by case: mean confidence of the organs found, mean Dice of those that either mask shows
    organs: Quality  # every organ found in every case for itself
    not_found: int  # organs that a truth shows and its mask does not: they have no confidence, and do not count above

    @classmethod
    def of(cls, judged: Judged, *, share: float) -> ConfidenceReport:
        """From the cases of `judge_masks`."""
        organs = [(case.case, organ) for case in judged.cases for organ in case.organs.values()]
        found = [(each.scores[CONFIDENCE], each.dice, case) for case, each in organs if each.scores]
        return cls(
            cases=report_on(judged, mode=CONFIDENCE, share=share),
            organs=quality_of(found, share),
            not_found=len(organs) - len(found),
        )

    def to_json(self, judged: Judged) -> dict[str, Any]:
        """A plain dictionary with every case besides."""
        report = self.cases.to_json(judged)
        for ledgers_own in ("mode", "modes", "kept", "unscored"):
            del report[ledgers_own]
        for case in report["cases"]:
            del case["kept"]
        return {"organs_and_cases": self.organs.to_json(), "organs_not_found": self.not_found, **report}


def judge_masks(kinds: Mapping[str, Path], truth: TrueMasks) -> Judged:
    """Every mask that `flarekit segment` wrote to the folders `kinds`, beside the truth of its name.

    A case in which nothing was found has the confidence 0; an organ that neither the truth nor the mask shows says
    nothing and is left out, and so is one that was not asked for. Raises InputError when no case can be judged; what
    stands in a case's way is logged.
    """
    cases, left_out = [], {}
    for kind, folder in kinds.items():
        for mask in tqdm(volumes_in(folder), desc=kind, unit="case", disable=None, leave=False):
            try:
                cases.append(_judge(kind, mask, truth))
            except FlarekitError as error:
                left_out[f"{kind}/{case_name(mask)}"] = str(error)
                logger.warning("left out: %s/%s: %s", kind, case_name(mask), error)
    if not any(organ.scores for case in cases for organ in case.organs.values()):
        raise InputError(
            f"gives no organ to judge: {next(iter(left_out.values()), 'no mask shows one')}",
            where=", ".join(str(folder) for folder in kinds.values()),
            remedy="Name folders that `flarekit segment` wrote, and the folder of the true label maps last.",
        )
    return Judged(mode=CONFIDENCE, cases=tuple(cases), left_out=left_out)


def _judge(kind: str, mask_file: Path, truth: TrueMasks) -> JudgedCase:
    case = case_name(mask_file)
    asked = _organs(sidecar_path(mask_file))
    true_file = truth.file_of(case)
    mask, true = read_labels(mask_file), read_labels(true_file)
    require_same_grid(mask, true)
    names = truth.labels.names
    for name, number in zip(names, truth.labels.ids, strict=True):
        if name in asked and asked[name]["id"] != number:
            raise InputError(
                f"numbers {name} {asked[name]['id']}, the true label maps {number}",
                where=mask_file,
                remedy="Segment with --label-map as the truth is numbered.",
            )
    predicted = truth.labels.to_classes(mask.array, where=mask_file)
    overlap = Overlap.of(predicted, truth.labels.to_classes(true.array, where=true_file), len(names))
    shown = (overlap.predicted + overlap.true > 0) & truth.covers(case)
    organs = {
        name: JudgedOrgan(
            scores={CONFIDENCE: value} if (value := asked[name]["confidence"]) is not None else {},
            dice=float(overlap.dice[k]),
        )
        for k, name in enumerate(names)
        if shown[k] and name in asked
    }
    if not organs:
        raise InputError("shows no organ, nor does the mask", where=true_file)
    found = [organ.scores[CONFIDENCE] for organ in organs.values() if organ.scores]
    return JudgedCase(
        kind=kind,
        case=case,
        kept=False,
        scores={CONFIDENCE: sum(found) / len(found) if found else 0.0},
        dice=sum(organ.dice for organ in organs.values()) / len(organs),
        organs=organs,
    )


def _organs(sidecar: Path) -> dict[str, dict[str, Any]]:
    """Id and confidence of every organ that was asked for. Raises InputError for JSON that is none of `segment`'s."""
    try:
        report = json.loads(sidecar.read_text(encoding="utf-8"))
        return {organ["name"]: {key: organ[key] for key in ("id", "confidence")} for organ in report["organs"]}
    except FileNotFoundError as error:
        raise InputError(
            "is not beside its mask", where=sidecar, remedy="`flarekit segment` writes it: keep them together."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "is not the JSON of a segmented case", where=sidecar, remedy="Segment the case again."
        ) from error
