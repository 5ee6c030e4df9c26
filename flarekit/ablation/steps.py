"""The steps of an ablation. Each is a folder of its own that tells whether it is done, so that a killed run goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from flarekit.ablation import names
from flarekit.checkpoints import Card, Registry
from flarekit.config.ablation import AblationConfig, AblationRow
from flarekit.config.run import RunSettings, Stores
from flarekit.config.training import CPSConfig, STCNTrainingConfig
from flarekit.consensus import CheckpointSource, Round, order, run_round
from flarekit.data.layouts import find_cases
from flarekit.evaluation.cases import Pair
from flarekit.files import write_json
from flarekit.labels import LabelSet
from flarekit.pipeline import segment
from flarekit.reference import ReferenceModule
from flarekit.training.runs import train
from flarekit.volumes import read_volume, write_labels

_ENDINGS = (".json", ".nii.gz")  # of a case's files: the seconds that it took, and then its mask

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """An ablation's folder, and what every step needs."""

    folder: Path  # of runs, pseudo-labels, masks and the report
    config: AblationConfig
    labels: LabelSet  # of the stores
    device: torch.device
    registry: Registry

    @property
    def prefix(self) -> str:
        """What the names of all its checkpoints start with."""
        return "ablation"

    def reference(self, row: AblationRow) -> Card:
        """The pair of networks that a row segments with: one that it names, or one that is trained now unless there."""
        if row.model is not None:
            return self.registry.card(row.model, kind="reference")
        seed = self.config.training.loop.seed
        if not row.pseudo_labels:
            return self._pair(row, seed)
        folder = self._pseudo_labels(row, [self._pair(row, seed + n) for n in range(self.config.models)])
        name = names.student_name(self.prefix, self.config, row, folder.name)
        return self._train(name, names.student_training(self.config, row, seed), row.windows, pseudo_labels=(folder,))

    def propagation(self) -> Card:
        """The propagation network: the one that the configuration names, or one that is trained now."""
        if self.config.propagation_model is not None:
            return self.registry.card(self.config.propagation_model, kind="propagation")
        return self._train(names.stcn_name(self.prefix, self.config), self.config.stcn, None)

    def masks(self, row: AblationRow, reference: Card, propagation: Card | None, cases: Sequence[Pair]) -> Path:
        """The folder with a row's masks of the CTs, those made that are missing."""
        chain = None if propagation is None else _weights(propagation)
        name = names.masks_name(_weights(reference), chain, row.segment)
        folder = self.folder / "masks" / name
        missing = [case for case in cases if not all((folder / f"{case.name}{end}").exists() for end in _ENDINGS)]
        if missing:
            logger.info("Row %s: %d of %d masks to make.", row.name, len(missing), len(cases))
            self._segment(row, reference, propagation, missing, folder)
        return folder

    def _segment(
        self, row: AblationRow, reference: Card, propagation: Card | None, cases: Sequence[Pair], folder: Path
    ) -> None:
        pair = ReferenceModule(self.registry.load(reference.reference, kind="reference"), device=self.device)
        chain = None if propagation is None else self.registry.load(propagation.reference, kind="propagation")
        for case in tqdm(cases, desc="segment", unit="case", disable=None, leave=False):
            volume = read_volume(case.predicted)
            found = segment(volume, pair, chain, row.segment)
            write_json(folder / f"{case.name}.json", {"seconds": sum(found.seconds.values())}, overwrite=True)
            write_labels(folder / f"{case.name}.nii.gz", volume.like(self.labels.to_ids(found.classes)), overwrite=True)

    def _pair(self, row: AblationRow, seed: int) -> Card:
        name = names.pair_name(self.prefix, self.config, row, seed)
        return self._train(name, names.pair_training(self.config, row, seed), row.windows)

    def _train(
        self,
        name: str,
        training: CPSConfig | STCNTrainingConfig,
        windows: str | None,
        pseudo_labels: tuple[Path, ...] = (),
    ) -> Card:
        """The checkpoint of a run: as it was published, or after training it from where it stands."""
        data, runs = self.config.data, self.folder / "runs"
        needed = pseudo_labels or (isinstance(training, CPSConfig) and training.unlabelled_batch)
        stores = Stores(
            labelled=data.labelled,
            unlabelled=data.unlabelled if needed else (),
            pseudo_labels=pseudo_labels,
            validation=data.validation,
        )
        settings = RunSettings(name=name, arch=self.config.arch, windows=windows, runs=runs, stores=stores)
        return train(settings, training, self.registry, device=self.device, resume=(runs / name).exists())

    def _pseudo_labels(self, row: AblationRow, teachers: Sequence[Card]) -> Path:
        """The folder with the masks of the unlabelled CTs that the teachers agree on."""
        folder = self.folder / "pseudo" / names.labels_name(self.config, row, tuple(map(_weights, teachers)))
        sources = order([CheckpointSource.of(card.reference, device=self.device.type) for card in teachers])
        round_ = Round(
            sources=sources, labels=self.labels, config=self.config.consensus, output=folder, backend="torch"
        )
        outcomes = run_round(find_cases(self.config.data.unlabelled_images).cases, round_)
        for outcome in outcomes:
            if outcome.status == "failed":
                logger.warning("No pseudo-label of %s: %s", outcome.case, outcome.reason)
        return folder


def _weights(card: Card) -> str:
    """Which weights, by name and digest."""
    return f"{card.reference} {card.weights_sha256}"
