"""Many cases at once: in processes of this machine, or over a cluster."""

from flarekit.parallel.cases import run_cases
from flarekit.parallel.lost import Lost

__all__ = ["Lost", "run_cases"]
