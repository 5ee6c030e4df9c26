"""`flarekit doctor`: what this machine offers."""

from __future__ import annotations

from flarekit.cli import console
from flarekit.cli.options import Json


def doctor(json: Json = False) -> None:
    """Say what this machine offers: devices, CPU, memory, versions, registry and folders."""
    from flarekit.doctor import examine

    findings = examine()
    rows = [(topic, name, value) for topic, facts in findings.items() for name, value in facts.items()]
    console.emit(findings, console.table("This machine", ("topic", "what", "found"), rows), as_json=json)
