"""What made a mask: checkpoints, settings and times, as its sidecar has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from flarekit.report.markup import table


def provenance(sidecar: Mapping[str, Any]) -> str:
    """A section that is folded up at first; nothing where the sidecar says nothing of it."""
    rows = [
        *((f"model: {part}", _model(entry)) for part, entry in sidecar.get("models", {}).items()),
        *((f"seconds: {stage}", f"{seconds:.2f}") for stage, seconds in sidecar.get("seconds", {}).items()),
        *((name, escape(str(sidecar[name]))) for name in ("flarekit", "backend", "hu_offset") if name in sidecar),
        *((f"settings: {name}", _setting(value)) for name, value in sidecar.get("settings", {}).items()),
    ]
    if not rows:
        return ""
    made = table("How it was made", ("what", "value"), [(escape(name), value) for name, value in rows])
    return f"<details>\n<summary>How it was made</summary>\n{made}\n</details>"


def _model(entry: Mapping[str, Any]) -> str:
    return f"{escape(str(entry['checkpoint']))} <small>sha256 {escape(str(entry['weights_sha256'])[:16])}</small>"


def _setting(value: object) -> str:
    return f"<code>{escape(json.dumps(value))}</code>"
