"""The folder of everything that is made: what fills it, and that it is filled from the same to the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from commands import Commands
from pieces import Clock
from recipe import Recipe, Stage

from flarekit.errors import UsageError
from flarekit.files import write_json, write_json_once

PAIR, STCN = "starter-reference", "starter-propagation"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is asked for."""

    recipe: Recipe
    labels: Path | None  # folder of label maps; needed for painting alone
    out: Path
    cts: tuple[Path, ...]  # real CTs without labels, for the unlabelled side
    credits: tuple[str, ...]  # where they are from, for the cards
    score: tuple[Path, Path] | None  # a real CT and its label map, looked at when networks are trained
    device: str
    workers: int  # processes that paint and load
    threads: int | None  # of torch; None: all cores
    from_packaged: bool  # start the first pair and the STCN from the weights in the package
    clock: Clock

    @property
    def networks(self) -> dict[str, tuple[Stage, ...]]:
        """The stages of everything that is published, by its name."""
        names = [PAIR, *(f"{PAIR}-{number}" for number in range(2, len(self.recipe.seeds) + 1))]
        return {name: self.recipe.pair for name in names} | {STCN: self.recipe.stcn}

    @property
    def commands(self) -> Commands:
        """`flarekit` in OUT."""
        return Commands(folder=self.out, threads=self.threads, clock=self.clock)

    @property
    def registry(self) -> Path:
        """Where finished networks are published."""
        return self.out / "published" / "checkpoints"

    def seed(self, name: str) -> int:
        """Of a pair: the recipe's. 0 of the STCN."""
        pairs = [each for each in self.networks if each != STCN]
        return self.recipe.seeds[pairs.index(name)] if name in pairs else 0

    def continues(self, name: str) -> bool:
        """Whether the network starts from the weights in the package."""
        return self.from_packaged and name in (PAIR, STCN)

    def begin(self) -> None:
        """Keep what OUT is made by, at the first call. Raises UsageError where a later call asks for something else.

        Later calls may lack the files of --cts, which are in the store then.
        """
        path = self.out / "study.json"
        if not path.is_file():
            learned = voxels_of(self.cts)
            self._refuse_scored(learned)
            write_json(self.out / "cts.json", learned, overwrite=True)
            write_json_once(path, self._asked())
        asked = self._asked() if all(ct.exists() for ct in self.cts) else self._asked_besides_cts()
        kept = json.loads(path.read_text(encoding="utf-8"))
        if changed := [name for name in asked if asked[name] != kept[name]]:
            raise UsageError(
                f"{self.out.name} was begun with another {', '.join(changed)}",
                remedy="Repeat the first line's --recipe, --cts, --credit and --init, or choose another --out.",
            )
        self._require_same_score()

    def refuse_scored(self) -> None:
        """Raises UsageError when the CT that is scored was learned from."""
        self._refuse_scored(json.loads((self.out / "cts.json").read_text(encoding="utf-8")))

    def keep_scored(self) -> None:
        """Note which real CT is scored, by which label map: later calls go on with these."""
        write_json_once(self._scored, self._asked_to_score())

    @property
    def _scored(self) -> Path:
        return self.out / "scored.json"

    def _require_same_score(self) -> None:
        """Raises UsageError where others were scored. Files that are not there are scored nowhere here."""
        if self.score is None or not self._scored.is_file() or not all(path.exists() for path in self.score):
            return
        if json.loads(self._scored.read_text(encoding="utf-8")) != self._asked_to_score():
            raise UsageError(
                f"{self.out.name} was scored on another CT or label map",
                remedy="Repeat the first --score, or choose another --out.",
            )

    def _asked_to_score(self) -> dict[str, str]:
        from flarekit.data.digest import digest

        assert self.score is not None
        return {name: digest(path) for name, path in zip(("ct", "labels"), self.score, strict=True)}

    def _refuse_scored(self, learned: dict[str, str]) -> None:
        if self.score is not None and learned and digest_of_voxels(self.score[0]) in learned.values():
            raise UsageError(f"{self.score[0].name} is scored", remedy="Leave it out of --cts.")

    def _asked(self) -> dict[str, Any]:
        from flarekit.data.digest import digest

        return self._asked_besides_cts() | {"cts": {ct.name: digest(ct) for ct in self.cts}}

    def _asked_besides_cts(self) -> dict[str, Any]:
        asked = {"recipe": asdict(self.recipe), "credits": list(self.credits), "init": self.from_packaged}
        return json.loads(json.dumps(asked, default=str))


def voxels_of(cts: Sequence[Path]) -> dict[str, str]:
    """A digest of the voxels of every CT in files and folders, by the name that it gets in a store.

    Raises InputError, also where two get the same name.
    """
    from flarekit.data.layouts import find_cases

    return {case.name: digest_of_voxels(case.image) for case in find_cases(cts).cases} if cts else {}


def digest_of_voxels(ct: Path) -> str:
    """SHA-256 of a CT's canonical voxels: the same however it is compressed, turned or stored. Raises InputError."""
    import hashlib

    import numpy as np

    from flarekit.volumes import read_volume

    array = read_volume(ct).array
    return hashlib.sha256(repr(array.shape).encode() + np.asarray(array, "<f4").tobytes()).hexdigest()
