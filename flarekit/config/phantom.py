"""Recipes of painted CT: what is drawn at random for a painting, from which ranges. Part of every phantom data set."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from flarekit.config import require
from flarekit.config.toml import to_dict

Range = tuple[float, float]

PAINTER_VERSION = 1  # raised when the same recipe and seed would give another image

PHASES = ("unenhanced", "arterial", "portal_venous")
LOW_ENERGY = "low_energy"  # portal venous at 40 keV, as scanners with two energies show it: no default recipe draws it


@dataclass(frozen=True, kw_only=True)
class WarpRecipe:
    """How anatomy is deformed and which part of it the scan shows."""

    scale: Range = (0.88, 1.12)  # size of the body, and each axis within a third of that range again
    rotation_deg: float = 8.0  # largest rotation, in plane; half of it out of plane
    shift_mm: float = 15.0  # largest shift of the body from the middle of the image
    elastic_mm: float = 5.0  # standard deviation of the elastic displacement
    elastic_scale_mm: float = 55.0  # distance over which the displacement changes
    remove_gallbladder: float = 0.15  # probability that the gallbladder is gone
    remove_kidney: float = 0.04  # probability that one kidney and its adrenal gland are gone
    crop: float = 0.3  # probability that the scan starts or ends within the organs
    extend_below: float = 0.35  # probability that the scan goes on into the pelvis
    extend_mm: Range = (30.0, 150.0)  # how far it then goes on


@dataclass(frozen=True, kw_only=True)
class TissueRecipe:
    """Which HU tissues take."""

    phases: tuple[str, ...] = PHASES  # contrast phases, equally likely
    wide: float = 1 / 3  # probability that every soft tissue's mean comes from `wide_hu` instead of its phase
    wide_hu: Range = (-50.0, 300.0)
    spread: float = 0.25  # means may leave their published range by this part of its width
    equal_neighbours: float = 0.35  # probability that some neighbouring organs have the same mean
    slow_field_hu: Range = (0.0, 8.0)  # standard deviation of the slow variation of each volume
    texture: Range = (0.5, 1.5)  # factor on each tissue's own texture
    lesions: float = 1.2  # expected number of lesions in a liver; the other organs have fewer
    organ_vessels: float = 0.8  # probability that vessels show inside liver and spleen

    def __post_init__(self) -> None:
        if unknown := set(self.phases) - {*PHASES, LOW_ENERGY}:
            raise ValueError(f"phases are among {(*PHASES, LOW_ENERGY)}, got {sorted(unknown)}")
        if not self.phases:
            raise ValueError("a recipe has at least one contrast phase")


@dataclass(frozen=True, kw_only=True)
class BodyRecipe:
    """What surrounds the organs; none of it has a label."""

    subcutaneous_mm: Range = (5.0, 45.0)  # thickness of the fat under the skin
    wall_mm: Range = (7.0, 15.0)  # thickness of the abdominal wall's muscles
    margin_mm: Range = (1.0, 12.0)  # fat between the organs and that wall
    bowel_loops: tuple[int, int] = (8, 22)  # loops of small bowel
    loop_radius_mm: Range = (7.0, 17.0)
    colon_radius_mm: Range = (13.0, 26.0)
    arms: float = 0.15  # probability that the arms lie beside the body
    table: float = 0.85  # probability that the table is in the image


@dataclass(frozen=True, kw_only=True)
class ScannerRecipe:
    """What the scanner makes of the body."""

    blur_mm: Range = (0.5, 1.2)  # standard deviation of the in-plane point spread
    distance_mm: Range = (2.0, 5.0)  # between slices, where the caller sets none
    thickness_mm: Range = (1.0, 5.0)  # slice thickness; never less than the slice distance
    noise_hu: Range = (5.0, 40.0)  # standard deviation, drawn on a logarithmic scale
    streaks: float = 0.3  # probability of streaks
    streak_hu: Range = (4.0, 30.0)
    cut_field: float = 0.2  # probability that the field of view cuts the body
    padding_hu: tuple[int, ...] = (-1024, -1000, -2000, -3024)  # values outside the reconstructed circle


@dataclass(frozen=True, kw_only=True)
class ChestRecipe:
    """How label maps go on above their last slice. Raises ValueError on a wrong share."""

    share: float = 0.4  # of the maps, those that do
    above_mm: Range = (40.0, 140.0)  # how far
    bend_mm: float = 6.0  # that aorta and esophagus leave a straight course by

    def __post_init__(self) -> None:
        require.shares(self, "share")


@dataclass(frozen=True, kw_only=True)
class MetalRecipe:
    """Rods and screws along the spine, and what a reconstruction makes of the rays through them."""

    height_mm: Range = (120.0, 220.0)  # how far the two rods reach along the body
    rod_radius_mm: Range = (2.5, 3.5)
    screw_length_mm: Range = (38.0, 50.0)  # of the screws, two in every vertebra
    attenuation_per_mm: Range = (0.25, 0.6)  # titanium to steel at 70 keV
    photons: Range = (2e3, 2e4)  # in every ray before the patient, drawn on a logarithmic scale
    hardening: Range = (0.15, 0.35)  # part of its attenuation that a ray loses for each unit of attenuation by metal


@dataclass(frozen=True, kw_only=True)
class PhantomRecipe:
    """Everything a painting is drawn from, apart from its label map and its seed."""

    name: str  # for messages and manifests
    warp: WarpRecipe = WarpRecipe()
    tissue: TissueRecipe = TissueRecipe()
    body: BodyRecipe = BodyRecipe()
    scanner: ScannerRecipe = ScannerRecipe()
    metal: MetalRecipe | None = None  # no metal in the patient without it
    chest: ChestRecipe | None = None  # the scan ends where the label map does, without it

    def sha256(self) -> str:
        """64 hexadecimal digits over every parameter and the painter's version, but not over the name."""
        content = {**to_dict(self), "name": "", "painter_version": PAINTER_VERSION}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


RECIPES: dict[str, PhantomRecipe] = {
    # For training: randomised more than realistic.
    "randomised": PhantomRecipe(name="randomised"),
    # The same, and some scans show the chest too. No network in the package was trained on it.
    "chests": PhantomRecipe(name="chests", chest=ChestRecipe()),
    # Close to a common portal venous examination; tissues stay in published ranges, organs stay where they are.
    "plain": PhantomRecipe(
        name="plain",
        warp=WarpRecipe(
            scale=(1.0, 1.0),
            rotation_deg=0.0,
            shift_mm=0.0,
            elastic_mm=0.0,
            remove_gallbladder=0.0,
            remove_kidney=0.0,
            crop=0.0,
            extend_below=0.0,
        ),
        tissue=TissueRecipe(
            phases=("portal_venous",),
            wide=0.0,
            spread=0.0,
            equal_neighbours=0.0,
            slow_field_hu=(0.0, 3.0),
            texture=(0.5, 1.0),
            lesions=0.3,
        ),
        body=BodyRecipe(arms=0.0),
        scanner=ScannerRecipe(
            noise_hu=(6.0, 14.0),
            streaks=0.0,
            cut_field=0.0,
            distance_mm=(2.5, 2.5),
            thickness_mm=(1.0, 3.0),
            padding_hu=(-1024,),
        ),
    ),
}
