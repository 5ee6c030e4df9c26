"""Pseudo-labels by consensus: several members label a case, and their agreement decides whether to keep it."""

from flarekit.consensus.case import LabelledCase, label_case
from flarekit.consensus.ledger import Ledger, LedgerFile, MemberEntry, Record, RoundSettings, read_ledger
from flarekit.consensus.members import CheckpointSource, MaskSource, Member, MemberSource, common_labels, order
from flarekit.consensus.round import CaseOutcome, Round, run_round
from flarekit.consensus.vote import Vote

__all__ = [
    "CaseOutcome",
    "CheckpointSource",
    "LabelledCase",
    "Ledger",
    "LedgerFile",
    "MaskSource",
    "Member",
    "MemberEntry",
    "MemberSource",
    "Record",
    "Round",
    "RoundSettings",
    "Vote",
    "common_labels",
    "label_case",
    "order",
    "read_ledger",
    "run_round",
]
