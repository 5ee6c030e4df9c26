"""A round of pseudo-labelling: every case labelled by several models, kept where they agree, recorded either way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from flarekit.checkpoints import Card
from flarekit.consensus.ledger import Ledger, ModelEntry, Record, RoundSettings, recorded_masks
from flarekit.consensus.score import Agreement, AgreementCounter, Consensus, vote
from flarekit.data.layouts import CaseFiles
from flarekit.data.slices import VolumeSlices
from flarekit.errors import FlarekitError, InputError, OutputError, UsageError
from flarekit.files import output_errors, refuse_existing, sha256, write_text
from flarekit.labels import LabelSet
from flarekit.reference import ReferenceModule
from flarekit.volumes import Volume, read_volume, write_labels

KEPT, REJECTED, SKIPPED, FAILED = "kept", "rejected", "skipped", "failed"
LEDGER, MASKS = "ledger.jsonl", "labels"


@dataclass(frozen=True, kw_only=True)
class CaseOutcome:
    """What became of one case in this run."""

    case: str
    status: str  # kept, rejected, skipped (the ledger has it already), or failed
    score: float | None = None  # mean Dice against the consensus
    reason: str = ""  # why, or what went wrong


def round_settings(cards: Sequence[Card], *, threshold: float, number: int) -> RoundSettings:
    """The settings of a round with these models.

    Raises UsageError: a threshold outside 0..1, fewer than two different checkpoints, or other organs in one.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"the threshold lies in 0..1, got {threshold}")
    references = [card.reference for card in cards]
    if len(set(references)) < 2 or len(set(references)) < len(references):
        raise UsageError(
            f"a consensus needs two different checkpoints at least, got {', '.join(references)}",
            remedy="Name them as --models first,second.",
        )
    for card in cards[1:]:
        if (card.labels.names, card.labels.ids) != (cards[0].labels.names, cards[0].labels.ids):
            raise UsageError(
                f"{card.reference} segments other organs than {references[0]}",
                remedy="Take models trained on one label set.",
            )
    entries = tuple(ModelEntry(checkpoint=c.reference, weights_sha256=c.weights_sha256) for c in cards)
    return RoundSettings(round=number, models=entries, threshold=threshold)


def run_round(
    cases: Sequence[CaseFiles], models: Sequence[ReferenceModule], output: Path, settings: RoundSettings
) -> list[CaseOutcome]:
    """Label every case that the ledger does not have yet, and write masks of the kept ones to OUTPUT/labels.

    A case that cannot be read, or of which the ledger knows another image, is reported as failed and gets no
    record, so that a later run tries it again.
    Raises InputError or UsageError when the ledger there was made otherwise, OutputError when nothing can be
    written, or when labels lie there that no ledger knows of.
    """
    if not (output / LEDGER).exists():
        start_ledger(output)
    ledger = Ledger(output / LEDGER, settings)
    progress = tqdm(cases, desc="pseudolabel", unit="case", disable=None, leave=False)
    return [_outcome(case, models, output, ledger) for case in progress]


def start_ledger(output: Path, *, overwrite: bool = False) -> None:
    """An empty ledger in the folder; with `overwrite` the masks of the one there are removed, other files stay.

    Raises OutputError when labels lie there already (without `overwrite`).
    """
    refuse_existing(output / MASKS, overwrite=overwrite)
    for mask in recorded_masks(output / LEDGER) if overwrite else ():
        with output_errors(output / MASKS / mask):
            (output / MASKS / mask).unlink(missing_ok=True)
    write_text(output / LEDGER, "", overwrite=overwrite)


def label_by_consensus(volume: Volume, models: Sequence[ReferenceModule]) -> Consensus:
    """The consensus of a CT and each model's agreement with it; all models segment the same organs.

    Every model brings its own preprocessing; probabilities meet on the native pixels, slice by slice.
    """
    classes = np.zeros(volume.array.shape, dtype=np.uint8)
    counter = AgreementCounter(len(models), len(models[0].labels.names))
    streams = [_native_probabilities(volume, model) for model in models]
    slices = zip(*streams, strict=True)
    for z, planes in enumerate(tqdm(slices, total=len(classes), unit="slice", disable=None, leave=False)):
        masks, classes[z] = vote(planes)
        counter.add(masks, classes[z])
    return Consensus(classes=classes, agreement=counter.agreement())


def judge(agreement: Agreement, threshold: float) -> tuple[bool, str]:
    """Whether a case is kept, and why."""
    if agreement.mean is None:
        return False, "no model found any organ"
    if agreement.mean < threshold:
        return False, f"mean Dice {agreement.mean:.3f} lies below {threshold:g}"
    return True, f"mean Dice {agreement.mean:.3f} reaches {threshold:g}"


def _native_probabilities(volume: Volume, model: ReferenceModule) -> Iterator[Tensor]:
    """float32 (C, H, W) of every slice, from the lowest."""
    slices = VolumeSlices(volume, model.preprocessing)
    for _, probabilities in model.probabilities(slices, range(len(slices))):
        yield slices.grid.from_network(probabilities[None])[0].cpu()


def _outcome(case: CaseFiles, models: Sequence[ReferenceModule], output: Path, ledger: Ledger) -> CaseOutcome:
    known = ledger.records.get(case.name)
    try:
        if known is not None and _is_done(known, case.image, output):
            return CaseOutcome(case=case.name, status=SKIPPED, score=known.score, reason=known.reason)
        record = _label_case(case, models, output, ledger.settings)
    except OutputError:
        raise  # the next case could not be written either
    except FlarekitError as error:
        return CaseOutcome(case=case.name, status=FAILED, reason=str(error))
    ledger.append(record)
    status = KEPT if record.kept else REJECTED
    return CaseOutcome(case=case.name, status=status, score=record.score, reason=record.reason)


def _is_done(known: Record, image: Path, output: Path) -> bool:
    """Whether nothing is left to do. Raises InputError when the record is of another image."""
    if known.image_sha256 != sha256(image):
        raise InputError(
            f"is another image than the {known.case!r} in the ledger",
            where=image,
            remedy="Rename it, choose another output folder, or pass --overwrite to start anew.",
        )
    return known.mask is None or (output / known.mask).exists()


def _label_case(case: CaseFiles, models: Sequence[ReferenceModule], output: Path, settings: RoundSettings) -> Record:
    start = time.perf_counter()
    volume = read_volume(case.image, hu_offset=case.hu_offset)
    consensus = label_by_consensus(volume, models)
    kept, reason = judge(consensus.agreement, settings.threshold)
    labels = models[0].labels
    mask = f"{MASKS}/{case.name}.nii.gz" if kept else None
    if mask is not None:
        # A mask without a record is one that a killed run left behind, or the user passed --overwrite.
        write_labels(output / mask, volume.like(labels.to_ids(consensus.classes)), overwrite=True)
    names = [model.card.reference for model in models]
    return Record(
        case=case.name,
        image_sha256=sha256(case.image),
        kept=kept,
        reason=reason,
        score=consensus.agreement.mean,
        model_scores={name: consensus.agreement.of_model(m) for m, name in enumerate(names)},
        organ_scores={name: _by_organ(consensus.agreement.dice[m], labels) for m, name in enumerate(names)},
        mask=mask,
        hu_offset=volume.hu_offset,
        seconds=round(time.perf_counter() - start, 2),
    )


def _by_organ(dice: np.ndarray, labels: LabelSet) -> dict[str, float | None]:
    pairs = zip(labels.names, dice, strict=True)
    return {name: None if np.isnan(value) else float(value) for name, value in pairs}
