"""Configuration files: what was written is read again, and what cannot be read is named with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from flarekit.config import toml
from flarekit.errors import InputError


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    data = {"name": 'a "b" é', "rates": [6, 12.5], "loop": {"amp": True, "optimiser": {"lr": 1e-4}}}
    (tmp_path / "config.toml").write_text(toml.dumps(data), encoding="utf-8")
    assert toml.read(tmp_path / "config.toml") == data


@pytest.mark.parametrize("content", [None, b"lr = ", b"\xff"], ids=["missing", "no TOML", "no text"])
def test_what_cannot_be_read_is_named_with_a_remedy(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.toml") as caught:
        toml.read(tmp_path / "config.toml")
    assert caught.value.remedy
