"""The paper's table 4, and rows of one's own, on any data set."""

from flarekit.ablation.report import RowScores
from flarekit.ablation.run import run_ablation

__all__ = ["RowScores", "run_ablation"]
