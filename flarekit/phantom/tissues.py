"""Tissues of a painting and the HU they take in each contrast phase.

Ranges are means over a region as published for abdominal CT at 120 kV (unenhanced; late arterial, about 35 s;
portal venous, about 70 s): standard radiology texts agree on them within some 10 HU.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from flarekit.config.phantom import LOW_ENERGY, PHASES, Range, TissueRecipe
from flarekit.labels import LabelSet


class Tissue(IntEnum):
    """What a voxel is made of; 1..13 are the organs of FLARE22 in their order."""

    AIR = 0
    LIVER = 1
    RIGHT_KIDNEY = 2
    SPLEEN = 3
    PANCREAS = 4
    AORTA = 5
    INFERIOR_VENA_CAVA = 6
    RIGHT_ADRENAL_GLAND = 7
    LEFT_ADRENAL_GLAND = 8
    GALLBLADDER = 9
    ESOPHAGUS = 10
    STOMACH = 11
    DUODENUM = 12
    LEFT_KIDNEY = 13
    OTHER_ORGAN = 14
    MEDULLA = 20
    LUMEN_FLUID = 21
    LUMEN_FOOD = 22
    LUMEN_CONTRAST = 23
    GAS = 24
    LIVER_VESSEL = 25
    SPLEEN_VESSEL = 26
    CALCIFICATION = 27
    SKIN = 32
    SUBCUTANEOUS_FAT = 33
    MUSCLE = 34
    VISCERAL_FAT = 35
    LUNG = 36
    HEART_WALL = 37
    HEART_BLOOD = 38
    CORTEX = 39
    MARROW = 40
    CANAL = 41
    DISC = 42
    CARTILAGE = 43
    BOWEL_WALL = 44
    BOWEL_A = 45
    BOWEL_B = 46
    BOWEL_CONTRAST = 47
    STOOL = 48
    VEIN = 49
    ARTERY = 50
    URINE = 51
    NODE = 52
    TABLE = 53


_ORGAN_TISSUES = {tissue.name.lower(): tissue for tissue in Tissue if tissue <= Tissue.LEFT_KIDNEY}

# Mean HU: (unenhanced, arterial, portal venous), or one range for all phases.
MEAN_HU: dict[Tissue, tuple[Range, ...]] = {
    Tissue.AIR: ((-1005, -990),),
    Tissue.LIVER: ((45, 65), (60, 85), (90, 125)),
    Tissue.RIGHT_KIDNEY: ((28, 42), (130, 210), (150, 210)),
    Tissue.SPLEEN: ((40, 55), (90, 150), (105, 140)),
    Tissue.PANCREAS: ((30, 50), (80, 125), (75, 115)),
    Tissue.AORTA: ((35, 50), (250, 400), (130, 190)),
    Tissue.INFERIOR_VENA_CAVA: ((35, 50), (50, 120), (110, 170)),
    Tissue.RIGHT_ADRENAL_GLAND: ((8, 35), (40, 80), (50, 90)),
    Tissue.GALLBLADDER: ((-2, 20),),
    Tissue.ESOPHAGUS: ((30, 45), (40, 70), (50, 85)),
    Tissue.STOMACH: ((30, 45), (50, 95), (60, 105)),
    Tissue.DUODENUM: ((30, 45), (50, 100), (60, 110)),
    Tissue.OTHER_ORGAN: ((30, 60), (50, 110), (60, 120)),
    Tissue.MEDULLA: ((28, 42), (50, 100), (120, 190)),
    Tissue.LUMEN_FLUID: ((-5, 30),),
    Tissue.LUMEN_FOOD: ((-20, 70),),
    Tissue.LUMEN_CONTRAST: ((130, 400),),
    Tissue.GAS: ((-980, -850),),
    Tissue.LIVER_VESSEL: ((32, 45), (70, 140), (135, 185)),
    Tissue.SPLEEN_VESSEL: ((32, 45), (80, 140), (125, 175)),
    Tissue.CALCIFICATION: ((300, 900),),
    Tissue.SKIN: ((-40, 40),),
    Tissue.SUBCUTANEOUS_FAT: ((-115, -95),),
    Tissue.MUSCLE: ((45, 60), (50, 65), (55, 75)),
    Tissue.VISCERAL_FAT: ((-112, -85),),
    Tissue.LUNG: ((-900, -720),),
    Tissue.HEART_WALL: ((35, 50), (80, 130), (90, 130)),
    Tissue.HEART_BLOOD: ((32, 48), (180, 350), (120, 175)),
    Tissue.CORTEX: ((260, 650),),
    Tissue.MARROW: ((110, 240),),
    Tissue.CANAL: ((15, 45),),
    Tissue.DISC: ((65, 110),),
    Tissue.CARTILAGE: ((80, 160),),
    Tissue.BOWEL_WALL: ((25, 45), (50, 110), (60, 115)),
    Tissue.BOWEL_A: ((0, 35),),
    Tissue.BOWEL_B: ((20, 100),),
    Tissue.BOWEL_CONTRAST: ((120, 400),),
    Tissue.STOOL: ((-150, 60),),
    Tissue.VEIN: ((35, 50), (60, 140), (135, 190)),
    Tissue.ARTERY: ((35, 50), (230, 380), (125, 185)),
    Tissue.URINE: ((-5, 15),),
    Tissue.NODE: ((25, 45), (50, 85), (65, 100)),
    Tissue.TABLE: ((-200, 300),),
}

# What iodine adds to portal venous HU at 40 keV, relative to 120 kV: its attenuation there over that at 65..70 keV.
_IODINE_AT_40_KEV = 3.5

# Standard deviation of a tissue's own texture in HU, where it is not 3.
TEXTURE_HU: dict[Tissue, float] = {
    Tissue.AIR: 1, Tissue.GAS: 8, Tissue.LUNG: 45, Tissue.CORTEX: 120, Tissue.MARROW: 50, Tissue.STOOL: 110,
    Tissue.LUMEN_FOOD: 30, Tissue.PANCREAS: 10, Tissue.VISCERAL_FAT: 9, Tissue.SUBCUTANEOUS_FAT: 6,
    Tissue.MUSCLE: 9, Tissue.MEDULLA: 8, Tissue.RIGHT_KIDNEY: 8, Tissue.LEFT_KIDNEY: 8, Tissue.BOWEL_WALL: 8,
    Tissue.BOWEL_B: 8, Tissue.GALLBLADDER: 2, Tissue.SKIN: 15, Tissue.CALCIFICATION: 80,
}  # fmt: skip

# Organs whose mean follows another's, give or take a few HU.
_TWINS = {
    Tissue.LEFT_KIDNEY: Tissue.RIGHT_KIDNEY,
    Tissue.LEFT_ADRENAL_GLAND: Tissue.RIGHT_ADRENAL_GLAND,
    Tissue.VEIN: Tissue.LIVER_VESSEL,
    Tissue.ARTERY: Tissue.AORTA,
}

# Tissues that keep their range in volumes whose soft tissues are drawn from the wide one.
_NEVER_WIDE = {
    Tissue.AIR, Tissue.GAS, Tissue.LUNG, Tissue.CORTEX, Tissue.MARROW, Tissue.CALCIFICATION, Tissue.SUBCUTANEOUS_FAT,
    Tissue.VISCERAL_FAT, Tissue.SKIN, Tissue.TABLE, Tissue.STOOL, Tissue.LUMEN_CONTRAST, Tissue.BOWEL_CONTRAST,
}  # fmt: skip

_NEIGHBOURS = (
    (Tissue.LIVER, Tissue.SPLEEN), (Tissue.LIVER, Tissue.STOMACH), (Tissue.LIVER, Tissue.INFERIOR_VENA_CAVA),
    (Tissue.LIVER, Tissue.RIGHT_KIDNEY), (Tissue.LIVER, Tissue.HEART_WALL), (Tissue.PANCREAS, Tissue.DUODENUM),
    (Tissue.PANCREAS, Tissue.BOWEL_WALL), (Tissue.PANCREAS, Tissue.BOWEL_B), (Tissue.DUODENUM, Tissue.BOWEL_B),
    (Tissue.STOMACH, Tissue.BOWEL_WALL), (Tissue.SPLEEN, Tissue.LEFT_KIDNEY), (Tissue.AORTA, Tissue.VEIN),
    (Tissue.RIGHT_KIDNEY, Tissue.BOWEL_B), (Tissue.ESOPHAGUS, Tissue.MUSCLE), (Tissue.LIVER, Tissue.MUSCLE),
    (Tissue.GALLBLADDER, Tissue.DUODENUM), (Tissue.SPLEEN, Tissue.BOWEL_B), (Tissue.AORTA, Tissue.INFERIOR_VENA_CAVA),
)  # fmt: skip


def organ_tissues(labels: LabelSet) -> np.ndarray:
    """uint8 (256,): the tissue each class of a label set is painted with; unknown organs become OTHER_ORGAN."""
    table = np.full(256, Tissue.OTHER_ORGAN, dtype=np.uint8)
    table[0] = table[255] = Tissue.AIR
    for index, name in enumerate(labels.names, start=1):
        table[index] = _ORGAN_TISSUES.get(name.lower().replace(" ", "_"), Tissue.OTHER_ORGAN)
    return table


@dataclass(frozen=True, kw_only=True)
class Palette:
    """The HU one painting gives its tissues."""

    phase: str  # one of PHASES, or LOW_ENERGY
    wide: bool  # whether soft tissues took the wide range instead of the phase's
    mean_hu: np.ndarray  # float32 (256,) by tissue
    texture_hu: np.ndarray  # float32 (256,) by tissue


def draw_palette(recipe: TissueRecipe, rng: np.random.Generator) -> Palette:
    """One painting's mean and texture of every tissue."""
    phase = recipe.phases[rng.integers(len(recipe.phases))]
    wide = bool(rng.random() < recipe.wide)
    mean = np.zeros(256, dtype=np.float32)
    for tissue, ranges in MEAN_HU.items():
        low, high = _in_phase(ranges, phase)
        spread = recipe.spread * (high - low)
        usual, unusual = rng.uniform(low - spread, high + spread), rng.uniform(*recipe.wide_hu)
        mean[tissue] = unusual if wide and tissue not in _NEVER_WIDE else usual
    for twin, tissue in _TWINS.items():
        mean[twin] = mean[tissue] + rng.normal(0, 2)
    _equalise_neighbours(mean, recipe, rng)
    texture = np.full(256, 3, dtype=np.float32)
    texture[list(TEXTURE_HU)] = list(TEXTURE_HU.values())
    return Palette(phase=phase, wide=wide, mean_hu=mean, texture_hu=texture * rng.uniform(*recipe.texture))


def _in_phase(ranges: tuple[Range, ...], phase: str) -> Range:
    if len(ranges) == 1:
        return ranges[0]
    if phase == LOW_ENERGY:
        plain, enhanced = ranges[PHASES.index("unenhanced")], ranges[PHASES.index("portal_venous")]
        low, high = (a + _IODINE_AT_40_KEV * (b - a) for a, b in zip(plain, enhanced, strict=True))
        return low, high
    return ranges[PHASES.index(phase)]


def _equalise_neighbours(mean_hu: np.ndarray, recipe: TissueRecipe, rng: np.random.Generator) -> None:
    if rng.random() >= recipe.equal_neighbours:
        return
    for pair in rng.choice(len(_NEIGHBOURS), size=rng.integers(1, 5), replace=False):
        one, other = _NEIGHBOURS[pair]
        mean_hu[one] = mean_hu[other] + rng.normal(0, 3)
