"""Pieces of HTML that pages share. Every text from outside passes `escape`."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template

from flarekit import __version__

_ASSETS = files("flarekit.report") / "assets"


def asset(name: str) -> str:
    """The text of a file of the package's assets."""
    return (_ASSETS / name).read_text(encoding="utf-8")


def fill(template: str, **parts: str) -> str:
    """The asset `template` with its $names replaced. Raises KeyError when one is missing."""
    return Template(asset(template)).substitute(parts)


def frame(*, title: str, subtitle: str, main: str, script: str = "", data: object = None) -> str:
    """A whole page: title and subtitle are plain text, `main` is HTML, and the script finds `data` in #case."""
    scripts = f'<script type="application/json" id="case">{json_text(data)}</script>\n<script>{script}</script>'
    return fill(
        "frame.html",
        title=escape(title),
        subtitle=escape(subtitle),
        policy=policy(script),
        style=asset("page.css"),
        main=main,
        version=__version__,
        scripts=scripts if script else "",
    )


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


def go_button(organ_class: int, title: str) -> str:
    """A way to an organ in the viewer; `title` is HTML already."""
    return f'<button type="button" class="go" value="{organ_class}" title="Go to {title}">{title}</button>'


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
