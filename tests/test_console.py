"""What commands print is what was meant: plain text, and JSON that every program reads."""

from __future__ import annotations

import json
import logging
import os

import pytest

from flarekit.cli import console


def test_words_in_brackets_are_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = console.table("Masks in [red]", ("case", "s"), [("[bold]a[/bold]", None)])
    console.emit({}, table, "Wrote [link]a[/link] :cat:.", as_json=False)
    printed = capsys.readouterr().out
    assert "Masks in [red]" in printed and "[bold]a[/bold]" in printed and "Wrote [link]a[/link] :cat:.\n" in printed


def test_json_is_one_object_and_never_holds_a_number_that_json_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    console.emit({"organ": "Gebärmutter", "dice": 0.5}, "for people", as_json=True)
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"organ": "Gebärmutter", "dice": 0.5} and "Gebärmutter" in printed
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.emit({"dice": float("nan")}, as_json=True)


@pytest.mark.parametrize(("verbosity", "level", "bars"), [(-2, "WARNING", "1"), (0, "INFO", None), (3, "DEBUG", None)])
def test_quiet_ends_messages_and_progress_bars(
    verbosity: int, level: str, bars: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "")
    monkeypatch.delenv("TQDM_DISABLE")
    logger = logging.getLogger("flarekit")
    monkeypatch.setattr(logger, "handlers", logger.handlers)
    monkeypatch.setattr(logger, "propagate", logger.propagate)
    before = logger.level
    try:
        console.configure(verbosity)
        assert logger.level == getattr(logging, level) and os.environ.get("TQDM_DISABLE") == bars
    finally:
        logger.setLevel(before)
