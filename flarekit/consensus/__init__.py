"""Pseudo-labels by consensus: several members label a case, and their agreement decides whether to keep it.

Names are imported when they are asked for: a training reads the ledger without the packages that read volumes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    **dict.fromkeys(("LabelledCase", "label_case"), "case"),
    **dict.fromkeys(("Ledger", "LedgerFile", "MemberEntry", "Record", "RoundSettings", "read_ledger"), "ledger"),
    **dict.fromkeys(("CheckpointSource", "MaskSource", "Member", "MemberSource"), "members"),
    **dict.fromkeys(("common_labels", "order"), "members"),
    **dict.fromkeys(("CaseOutcome", "Round", "run_round"), "round"),
    "Vote": "vote",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
