"""Pieces of HTML that pages share. Every text from outside passes `escape`."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template

_ASSETS = files("flarekit.report") / "assets"


def asset(name: str) -> str:
    """The text of a file of the package's assets."""
    return (_ASSETS / name).read_text(encoding="utf-8")


def fill(template: str, **parts: str) -> str:
    """The asset `template` with its $names replaced. Raises KeyError when one is missing."""
    return Template(asset(template)).substitute(parts)


def policy(script: str = "") -> str:
    """A content security policy under which a page loads nothing, and runs no other script than this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    runs = f"'sha256-{digest}'" if script else "'none'"
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {runs}"


def json_text(data: object) -> str:
    """JSON that cannot end the script element it lies in."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def readable(name: str) -> str:
    """An organ's name as people write it."""
    return name.replace("_", " ")


def table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already; the first column says what each row is about."""
    header = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "\n".join(f"<tr>{_row(cells)}</tr>" for cells in rows)
    return (
        f'<div class="wide"><table><caption class="unseen">{escape(caption)}</caption>\n'
        f"<thead><tr>{header}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _row(cells: Iterable[str]) -> str:
    first, *others = cells
    return f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others)
