"""What `flarekit pseudolabel` leaves behind for the cases of a tiny store, made without a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flarekit.consensus.ledger import KEPT, REJECTED, Ledger, MemberEntry, Record, RoundSettings
from flarekit.data.store import SliceStore
from flarekit.volumes import Volume, write_labels

MEMBERS = (
    MemberEntry(name="one@1", kind="checkpoint", weights_sha256="hash of one"),
    MemberEntry(name="two@1", kind="checkpoint", weights_sha256="hash of two"),
)


def write_pseudo_labels(
    folder: Path,
    store: Path,
    ids: Mapping[str, np.ndarray | None],
    *,
    number: int = 1,
    members: tuple[MemberEntry, ...] = MEMBERS,
    sha256: str | None = None,
) -> Path:
    """A ledger of the store's cases in `ids` (Z, H, W) with their masks; None rejects the case."""
    opened = SliceStore.open(store)
    settings = RoundSettings(round=number, members=members, organs=opened.labels.names, threshold=0.9)
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder / "ledger.jsonl", settings)
    for name, mask in ids.items():
        header = opened.case(name).header
        if mask is not None:
            write_labels(folder / "labels" / f"{name}.nii.gz", Volume(array=mask, source=header.source))
        ledger.append(
            Record(
                case=name,
                image_sha256=sha256 or header.source_sha256,
                status=REJECTED if mask is None else KEPT,
                reason="",
                score=0.95 if mask is not None else 0.5,
                mask=f"labels/{name}.nii.gz" if mask is not None else None,
            )
        )
    return folder
