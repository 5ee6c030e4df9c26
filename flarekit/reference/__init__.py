"""The reference module: a few slices segmented by a CPS pair, and the best of them chosen."""

from flarekit.reference.evidence import SliceEvidence
from flarekit.reference.predict import ReferenceModule
from flarekit.reference.sampling import doubtful_organs, second_look, uniform_slices
from flarekit.reference.selection import select_references
from flarekit.reference.uncertainty import entropy
from flarekit.reference.votes import Votes

__all__ = [
    "ReferenceModule",
    "SliceEvidence",
    "Votes",
    "doubtful_organs",
    "entropy",
    "second_look",
    "select_references",
    "uniform_slices",
]
