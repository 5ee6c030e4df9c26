"""Scores of masks against the truth, and of propagation against what annotators use today."""

from flarekit.evaluation.dice import CaseScores, Overlap, dice, score_case

__all__ = ["CaseScores", "Overlap", "dice", "score_case"]
