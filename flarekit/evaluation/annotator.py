"""A simulated annotator, who draws the slices that are suggested one after another, beside one who spreads them evenly.

Whatever was drawn is then propagated. Dice is pooled in 3D over all slices, the drawn ones included, for every organ of
the truth: both annotators had the same budget, and an organ that was never drawn scores 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from flarekit.config.suggestion import SuggestionConfig
from flarekit.evaluation.dice import dice
from flarekit.evaluation.propagation import Filler
from flarekit.suggestion.carried import Carrier
from flarekit.suggestion.gathering import gather
from flarekit.suggestion.ranking import rank
from flarekit.volumes import Volume


def suggested_slices(
    image: Volume,
    truth: np.ndarray,
    reference_mm2: np.ndarray,
    carrier: Carrier,
    config: SuggestionConfig,
    count: int,
    *,
    progress: Callable[[range], Sequence[int]] = list,
) -> list[int]:
    """Slice numbers in the order they are suggested, classes (Z, H, W) of each becoming known when it is."""
    chosen: list[int] = []
    for _ in progress(range(count)):
        evidence = gather(image, {z: truth[z] for z in chosen}, reference_mm2, carrier, config)
        ranking = rank(evidence, 1, config)
        if not ranking.suggestions:
            break
        chosen.append(ranking.suggestions[0].z)
    return chosen


def uniform_slices(depth: int, count: int) -> list[int]:
    """The middles of `count` equal parts of `depth` slices."""
    return sorted({(2 * part + 1) * depth // (2 * count) for part in range(count)})


def score_choice(filler: Filler, truth: np.ndarray, chosen: Sequence[int], organs: Sequence[int]) -> dict[int, float]:
    """Dice of these organs (classes) over all slices of classes (Z, H, W), the chosen ones being given."""
    filled = np.zeros_like(truth)
    if truth[list(chosen)].any():
        for z, classes in filler({z: truth[z] for z in chosen}):
            filled[z] = classes
    scores = dice(filled, truth, max(organs))
    return {organ: float(scores[organ - 1]) for organ in organs}
