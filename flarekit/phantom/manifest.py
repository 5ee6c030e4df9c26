"""`phantom.json`: what a painted data set was made from, and a hash of every image in it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flarekit.data.layouts import PAINTED
from flarekit.errors import OutputError
from flarekit.files import write_text

NAME = PAINTED
_FORMAT = {"format": "flarekit-phantom", "version": 1}


@dataclass(kw_only=True)
class Manifest:
    """The plan of a data set, and the paintings that are complete."""

    path: Path  # of phantom.json
    plan: dict[str, Any]  # what decides every image: recipe, its hash, seed, grid, source names
    paintings: dict[str, dict[str, Any]] = field(default_factory=dict)  # by case name

    def add(self, name: str, entry: dict[str, Any]) -> None:
        """Note a complete painting and write the file. Raises OutputError."""
        self.paintings[name] = entry
        self.write()

    def write(self) -> None:
        """Write the file, which marks its folder as a painted data set. Raises OutputError."""
        content = {**_FORMAT, "plan": self.plan, "paintings": dict(sorted(self.paintings.items()))}
        write_text(self.path, json.dumps(content, indent=1) + "\n", overwrite=True)


def open_manifest(folder: Path, plan: dict[str, Any], *, fresh: bool) -> Manifest:
    """The manifest of a data set to be written or gone on with; an empty one when `fresh`.

    Paintings of the same plan are kept; only how many there are may differ. Raises OutputError when the
    folder holds something else.
    """
    path = folder / NAME
    if fresh or not path.exists():
        return Manifest(path=path, plan=plan)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known, paintings = found["plan"], dict(found["paintings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"cannot be read ({error})", where=path, remedy="Pass --overwrite to start anew.") from error
    if paintings and {**known, "count": None} != json.loads(json.dumps({**plan, "count": None})):
        raise OutputError(
            "describes paintings of another recipe, seed, grid or label maps",
            where=path,
            remedy="Pass --overwrite to replace them, or choose another folder.",
        )
    return Manifest(path=path, plan=plan, paintings=paintings)


def image_sha256(image: np.ndarray) -> str:
    """64 hexadecimal digits over an image's shape and voxels (not over a compressed file, whose bytes vary)."""
    digest = hashlib.sha256(repr((image.shape, str(image.dtype))).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
