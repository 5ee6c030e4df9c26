"""What is wrong with a data set of CTs and label maps, and copies of it that are mended. Free of torch."""

from flarekit.check.dataset import DatasetReport, check_dataset
from flarekit.check.findings import ERROR, NOTE, WARNING, Finding
from flarekit.check.repair import RepairReport, repair_dataset

__all__ = [
    "ERROR",
    "NOTE",
    "WARNING",
    "DatasetReport",
    "Finding",
    "RepairReport",
    "check_dataset",
    "repair_dataset",
]
