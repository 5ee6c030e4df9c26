"""Hard variants of a recipe: the same anatomy under conditions that training does not show."""

from __future__ import annotations

from dataclasses import replace

from flarekit.config.phantom import LOW_ENERGY, MetalRecipe, PhantomRecipe

HARD_KINDS = ("noise", "phase", "resolution", "metal")


def harden(recipe: PhantomRecipe, kind: str) -> PhantomRecipe:
    """A recipe whose paintings show one kind of trouble, and the anatomy of `recipe` for the same seed.

    noise: two to four times the most that "randomised" draws; phase: organs brighter than in any phase that it
    knows; resolution: thick slices and blur, on the same grid; metal: rods and screws in the spine.
    Raises ValueError on another kind.
    """
    name = f"{recipe.name}-{kind}"
    if kind == "noise":
        return replace(recipe, name=name, scanner=replace(recipe.scanner, noise_hu=(80.0, 160.0)))
    if kind == "phase":
        tissue = replace(recipe.tissue, phases=(LOW_ENERGY,), wide=0.0, equal_neighbours=0.0)
        return replace(recipe, name=name, tissue=tissue)
    if kind == "resolution":
        scanner = replace(recipe.scanner, thickness_mm=(12.0, 20.0), blur_mm=(2.5, 4.0))
        return replace(recipe, name=name, scanner=scanner)
    if kind == "metal":
        return replace(recipe, name=name, metal=MetalRecipe())
    raise ValueError(f"kinds are {HARD_KINDS}, got {kind!r}")
