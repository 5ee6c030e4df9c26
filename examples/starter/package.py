"""Put published starter weights into the package, byte for byte, under the version they were published as.

    python examples/starter/package.py OUT/published [NAME ...]

OUT is the folder of starter.py; without names, all networks that it has published. README.md says what else it takes to
ship them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from trainings import REAL

from flarekit.checkpoints import Card, Registry
from flarekit.checkpoints.registry import PACKAGED, verify
from flarekit.errors import FlarekitError, OutputError, UsageError
from flarekit.files import atomic_folder

TERMS = Path(__file__).parents[2] / "LICENSE-weights"


def main(argv: Sequence[str] | None = None) -> int:
    """0 when the weights are in the package; the code of the error otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("published", type=Path, help="OUT/published of starter.py")
    parser.add_argument("names", nargs="*", help="networks; all without")
    asked = parser.parse_args(argv)
    registry = Registry(asked.published / "checkpoints", packaged=asked.published / "none")
    try:
        for name in asked.names or sorted({card.name for card in registry.listing().cards}):
            card = put_into_package(registry, name)
            print(f"packaged {card.reference}, SHA-256 {card.weights_sha256}")
    except FlarekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def put_into_package(registry: Registry, name: str) -> Card:
    """Copy the highest version of a network; its card comes back.

    Raises CheckpointError where it is damaged or there is none, OutputError where the package has that version, and
    UsageError where it saw CTs of patients that LICENSE-weights does not credit.
    """
    card, folder = registry.card(name), registry.folder(name)
    verify(folder, card)
    require_credits(card)
    packaged = PACKAGED / card.name / str(card.version)
    if packaged.exists():
        raise OutputError("is in the package", where=packaged, remedy="Publish a higher version, or `git rm` this one.")
    with atomic_folder(packaged) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
    return card


def require_credits(card: Card) -> None:
    """Raises UsageError where LICENSE-weights does not name every real CT that the card does, in the card's words."""
    terms = " ".join(TERMS.read_text(encoding="utf-8").split())
    for data in card.provenance.data:
        if data.startswith(REAL) and data.removeprefix(REAL) not in terms:
            raise UsageError(
                f"{card.reference} saw {data.removeprefix(REAL)!r}, which {TERMS.name} does not credit",
                remedy="Name it there in these words, and take back what they make untrue.",
            )


if __name__ == "__main__":
    sys.exit(main())
