"""Which organs have lesions, how many, and of what HU: cysts and masses."""

from __future__ import annotations

import numpy as np

from flarekit.phantom.tissues import Tissue

# Lesions of an organ for each one of the liver.
SHARES = {
    Tissue.LIVER: 1.0, Tissue.RIGHT_KIDNEY: 0.5, Tissue.LEFT_KIDNEY: 0.5, Tissue.SPLEEN: 0.25,
    Tissue.PANCREAS: 0.3, Tissue.OTHER_ORGAN: 0.25,
}  # fmt: skip


def lesion_hu(organ_hu: float, rng: np.random.Generator) -> float:
    """HU of a cyst or a mass in an organ of that HU."""
    return float(rng.uniform(-5, 20) if rng.random() < 0.4 else organ_hu + rng.uniform(-70, 60))
