"""Test cases are for scoring alone: who learned from their CTs, or was chosen by them, scores too well on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from flarekit.data.store import SliceStore
from flarekit.errors import InputError


def require_apart(tests: Mapping[str, str], stores: Sequence[Path]) -> None:
    """Raises InputError where one of the stores holds the CT of a test case; `tests` are digests of CTs, by case."""
    names = {digest: name for name, digest in tests.items()}
    for path in stores:
        store = SliceStore.open(path)
        for case in store.cases:
            if (found := names.get(store.case(case).header.source_sha256)) is not None:
                raise InputError(
                    f"holds the test case {found!r}, as {case!r}",
                    where=path,
                    remedy="Test on cases that nothing is learned from or chosen by.",
                )
