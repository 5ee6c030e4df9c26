"""Which slice the annotator should draw next, and why."""

from flarekit.suggestion.evidence import Evidence
from flarekit.suggestion.ranking import Ranking, rank

__all__ = ["Evidence", "Ranking", "rank"]
