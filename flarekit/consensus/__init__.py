"""Pseudo-labels by consensus: several models label a case, and their agreement decides whether to keep it."""

from flarekit.consensus.ledger import Ledger, ModelEntry, Record, RoundSettings
from flarekit.consensus.pseudolabel import CaseOutcome, label_by_consensus, round_settings, run_round
from flarekit.consensus.score import Agreement, AgreementCounter, Consensus

__all__ = [
    "Agreement",
    "AgreementCounter",
    "CaseOutcome",
    "Consensus",
    "Ledger",
    "ModelEntry",
    "Record",
    "RoundSettings",
    "label_by_consensus",
    "round_settings",
    "run_round",
]
