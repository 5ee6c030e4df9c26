"""The registry of checkpoints: the only code that reads or writes weights."""

from flarekit.checkpoints.card import Card, Provenance
from flarekit.checkpoints.registry import Loaded, Registry
from flarekit.checkpoints.resume import load_state, save_state

__all__ = ["Card", "Loaded", "Provenance", "Registry", "load_state", "save_state"]
