"""Put the trained starter checkpoints into the package: float16, with what a user must know on their cards.

    python examples/starter/package.py

Reads `starter-reference@1` and `starter-propagation@1` from the registry that train.sh published them to.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flarekit.checkpoints import Provenance, Registry
from flarekit.checkpoints.registry import PACKAGED

PROVENANCE = Provenance(
    initialisation="random",
    data=(
        "CTs painted by `flarekit phantom` on 35 label maps of FLARE22's training set (split.json)",
        "CTs painted on synthetic anatomy",
    ),
    pretrained_or_extra_data=True,
    licence="CC BY-SA 4.0, research use; see LICENSE-weights",
    notes=(
        "Trained on painted CTs alone, for about an hour on two CPU cores: they show that every command works, and "
        "are weak on small organs and on real CTs. Not a medical device. Anatomy: FLARE22, built on the Medical "
        "Segmentation Decathlon (pancreas). Not affiliated with either."
    ),
)


def main() -> None:
    trained = Registry.default()
    target = Registry(PACKAGED, packaged=Path("no-such-folder"))
    for name in ("starter-reference", "starter-propagation"):
        loaded = trained.load(f"{name}@1")
        card = target.publish(replace(loaded.card, provenance=PROVENANCE), loaded.networks, half=True)
        print(f"packaged {card.reference}, SHA-256 {card.weights_sha256}")


if __name__ == "__main__":
    main()
