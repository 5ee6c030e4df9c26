"""How several models' masks become pseudo-labels, and which of these are trusted."""

from __future__ import annotations

from dataclasses import dataclass

from flarekit.config import require

COMBINATIONS = ("probabilities", "majority")
SCORES = ("dice", "leave-one-out", "iou", "instability")
LAYOUTS = ("plain", "nnunet")


@dataclass(frozen=True, kw_only=True)
class ConsensusConfig:
    """Every choice of a round of pseudo-labelling that its members do not make.

    Raises ValueError on a threshold or certainty outside 0..1 and on names that are not known.
    """

    threshold: float = 0.9  # a case (with `per_organ` an organ) is trusted when its score reaches it
    combine: str = "probabilities"  # one of COMBINATIONS: the largest sum of probabilities, or the most votes
    score: str = "dice"  # one of SCORES, see `flarekit.consensus.score`
    per_organ: bool = False  # judge organs one by one: one that is not trusted becomes "ignore", the rest is kept
    certainty: float = 0.0  # voxels whose class has a lower mean probability over the members become "ignore"
    uncertainty: bool = False  # write the entropy of the members' mean probabilities of every voxel
    write_rejected: bool = False  # write the masks of rejected cases too, apart from the kept ones
    layout: str = "plain"  # one of LAYOUTS: labels/NAME.nii.gz, or nnU-Net's imagesTr and labelsTr

    def __post_init__(self) -> None:
        require.shares(self, "threshold", "certainty")
        require.one_of(COMBINATIONS, self, "combine")
        require.one_of(SCORES, self, "score")
        require.one_of(LAYOUTS, self, "layout")
