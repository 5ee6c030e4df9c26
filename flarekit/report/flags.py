"""Flags: what in a case a human should look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from flarekit.check.findings import SEVERITIES, WARNING
from flarekit.report.markup import readable

_SIGNS = {"error": "&#10006;", "warning": "&#9888;", "note": "&#8505;"}


def flag_list(flags: Sequence[Mapping[str, Any]]) -> str:
    """A list of flags, the gravest first; a sentence where there is none."""
    if not flags:
        return '<p class="flag note">&#8505; No flags.</p>'
    items = "\n".join(f'<li class="flag {_severity(flag)}">{_words(flag)}</li>' for flag in sorted(flags, key=gravity))
    return f'<ul class="flags" aria-label="Flags">\n{items}\n</ul>'


def gravity(flag: Mapping[str, Any]) -> int:
    """0 for the gravest flags: errors come first, then warnings, then notes."""
    return SEVERITIES.index(_severity(flag))


def _severity(flag: Mapping[str, Any]) -> str:
    severity = flag.get("severity")
    return severity if severity in SEVERITIES else WARNING


def _words(flag: Mapping[str, Any]) -> str:
    severity, text, organ = _severity(flag), str(flag["text"]), flag.get("organ")
    if organ is not None:
        text = text.replace(organ, readable(organ))
    return f'{_SIGNS[severity]} <span class="unseen">{severity}: </span>{escape(text)}'
