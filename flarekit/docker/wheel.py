"""flarekit as a wheel, made of the files that run here: no build tool and no network, from a checkout as well.

Source: the binary distribution format of the Python packaging specifications (PEP 427). The starter weights are left
out: an image holds the checkpoints that it uses, and a challenge's rules forbid these.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import flarekit
from flarekit.checkpoints.registry import PACKAGED
from flarekit.errors import MissingDependency

_KEPT = ("METADATA", "entry_points.txt")  # of what describes the installation here
_WHEEL = "Wheel-Version: 1.0\nGenerator: flarekit docker\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_DATE = (2020, 1, 1, 0, 0, 0)  # the same files give the same wheel


def write_wheel(folder: Path) -> str:
    """Write flarekit's wheel to the folder; its name comes back. Raises MissingDependency, or OSError."""
    try:
        installed = metadata.distribution("flarekit")
    except metadata.PackageNotFoundError as error:
        raise MissingDependency("flarekit is run without being installed", remedy="pip install . first.") from error
    name, described = f"flarekit-{flarekit.__version__}-py3-none-any.whl", f"flarekit-{flarekit.__version__}.dist-info"
    record = []
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in _contents(installed, described):
            wheel.writestr(zipfile.ZipInfo(path, _DATE), content, zipfile.ZIP_DEFLATED)
            record.append(f"{path},sha256={_digest(content)},{len(content)}")
        record.append(f"{described}/RECORD,,")
        wheel.writestr(zipfile.ZipInfo(f"{described}/RECORD", _DATE), "\n".join(record) + "\n")
    return name


def _contents(installed: metadata.Distribution, described: str) -> Iterator[tuple[str, bytes]]:
    root = Path(flarekit.__file__).parent
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.is_relative_to(PACKAGED):
            yield path.relative_to(root.parent).as_posix(), path.read_bytes()
    for licence in installed.files or ():
        if "licenses" in licence.parts:
            yield f"{described}/licenses/{licence.name}", licence.read_binary()
    for name in _KEPT:
        yield f"{described}/{name}", (installed.read_text(name) or "").encode()
    yield f"{described}/WHEEL", _WHEEL.encode()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
