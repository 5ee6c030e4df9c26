"""Flags: what in a case a human should look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from flarekit.check.findings import SEVERITIES, WARNING
from flarekit.report.markup import go_button, readable

_SIGNS = {"error": "&#10006;", "warning": "&#9888;", "note": "&#8505;"}


_NONE = '<p class="flag note">&#8505; No flags.</p>'


def flag_list(
    flags: Sequence[Mapping[str, Any]], classes: Mapping[str, int] | None = None, *, none: str = _NONE
) -> str:
    """A list of flags, the gravest first; `none` where there is none.

    An organ that is one of the names in `classes` leads to that class in the viewer.
    """
    if not flags:
        return none
    items = "\n".join(
        f'<li class="flag {_severity(flag)}">{_words(flag, classes or {})}</li>' for flag in sorted(flags, key=gravity)
    )
    return f'<ul class="flags" aria-label="Flags">\n{items}\n</ul>'


def gravity(flag: Mapping[str, Any]) -> int:
    """0 for the gravest flags: errors come first, then warnings, then notes."""
    return SEVERITIES.index(_severity(flag))


def _severity(flag: Mapping[str, Any]) -> str:
    severity = flag.get("severity")
    return severity if severity in SEVERITIES else WARNING


def _words(flag: Mapping[str, Any], classes: Mapping[str, int]) -> str:
    severity, text, organ = _severity(flag), escape(str(flag["text"])), flag.get("organ")
    if organ is not None:
        title = escape(readable(organ))
        text = text.replace(escape(organ), go_button(classes[organ], title) if organ in classes else title, 1)
    return f'{_SIGNS[severity]} <span class="unseen">{severity}: </span>{text}'
