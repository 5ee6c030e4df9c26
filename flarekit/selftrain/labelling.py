"""What a round's models make of the unlabelled cases: a run of `flarekit pseudolabel`, which resumes where it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from flarekit.config.consensus import ConsensusConfig
from flarekit.config.selftrain import SelftrainConfig
from flarekit.consensus import CheckpointSource, MaskSource, MemberSource, Round, read_ledger, run_round
from flarekit.consensus.ledger import FAILED, KEPT, LEDGER, REJECTED
from flarekit.consensus.members import common_labels, order
from flarekit.data.layouts import CaseFiles
from flarekit.errors import UsageError
from flarekit.files import sha256
from flarekit.labels import FLARE22, LabelSet
from flarekit.pipeline.member import ChainSource
from flarekit.selftrain.state import RoundLabels, RoundState
from flarekit.selftrain.workplace import Workplace

NO_PREVIOUS = "dice"  # what the first round is scored by where rounds are compared with the one before


def label_cases(
    round_: RoundState,
    before: RoundState | None,
    cases: Sequence[CaseFiles],
    config: SelftrainConfig,
    place: Workplace,
    device: str,
) -> RoundLabels:
    """Label the cases with a round's models; cases that its ledger has are skipped. Raises as `run_round` does."""
    sources = order([*map(MaskSource.of, config.labelling.predictions), *_members(round_, config, device)])
    folder = place.labels(round_.number)
    previous = MaskSource.of_round(place.folder / before.labels.folder) if before and before.labels else None
    plan = Round(
        sources=sources,
        labels=common_labels(sources, None, FLARE22),
        config=_consensus(config, previous),
        output=place.folder / folder,
        number=round_.number,
        previous=previous,
        backend=config.labelling.backend,
    )
    run_round(cases, plan, workers=config.labelling.workers, scheduler=config.labelling.scheduler)
    ledger = place.folder / folder / LEDGER
    written = read_ledger(ledger)
    counts = Counter(record.status for record in written.records.values())
    return RoundLabels(
        folder=folder,
        ledger_sha256=sha256(ledger),
        threshold=written.settings.threshold,
        kept=counts[KEPT],
        rejected=counts[REJECTED],
        failed=counts[FAILED],
    )


def check_predictions(config: SelftrainConfig, labels: LabelSet, place: Workplace) -> None:
    """Raises now what would end the first labelling, after hours: InputError or UsageError on label maps that vote."""
    sources = [MaskSource.of(text) for text in config.labelling.predictions]
    names = [source.name for source in sources]
    rounds = {place.labels(number) for number in range(1, config.rounds.number + 1)}
    if len(set(names) - rounds) < len(names):
        raise UsageError(
            f"label maps that vote have a name each, and none a round's, got {', '.join(names)}",
            where="consensus.predictions",
            remedy='Write "NAME=FOLDER".',
        )
    for source in sources:
        source.open(labels)


def _members(round_: RoundState, config: SelftrainConfig, device: str) -> list[MemberSource]:
    names, labelling = [model.checkpoint for model in round_.models], config.labelling
    options = {"device": device, "backend": labelling.backend, "challenge": config.run.challenge}
    if labelling.propagation_model is None:
        return [CheckpointSource.of(name, **options) for name in names]  # type: ignore[arg-type]
    chain = labelling.propagation_model
    return [ChainSource.of(name, chain, **options) for name in names]  # type: ignore[arg-type]


def _consensus(config: SelftrainConfig, previous: MaskSource | None) -> ConsensusConfig:
    if config.consensus.score != "instability":
        return config.consensus
    # A case that was rejected once would else have nothing to be compared with, and be rejected for ever.
    compared = replace(config.consensus, write_rejected=True)
    return compared if previous is not None else replace(compared, score=NO_PREVIOUS)
