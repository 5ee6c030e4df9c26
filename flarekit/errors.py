"""Errors a user can fix, and the exit codes they end a command with.

| code | class | meaning |
| --- | --- | --- |
| 0 | | done |
| 1 | | a defect of flarekit itself: a traceback, please report it |
| 2 | UsageError | an option or argument is wrong (Typer's own code for it) |
| 3 | InputError | an input file is missing, unreadable or not what it has to be |
| 4 | OutputError | the output exists, cannot be written, or the disk is full |
| 5 | CheckpointError | a checkpoint is unknown, corrupted, or does not fit |
| 6 | TrainingError | training cannot go on (non-finite loss, no labelled slice) |
| 7 | PartialFailure | a batch finished, but some of its cases failed |
| 8 | MissingDependency | an optional package or device is not here |
| 9 | OutOfMemory | the device, or this machine, has too little memory, even for the smallest step |
| 130 | | interrupted |
"""

from __future__ import annotations

from pathlib import Path


class FlarekitError(Exception):
    """What went wrong, where, and what to do next, as one line.

    `what` is a clause without a full stop, `where` a file, slice or field, `remedy` a sentence.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        place = f"{where}: " if where is not None else ""
        super().__init__(f"{place}{what}." + (f" {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[object, ...]:
        """For errors that come from a worker process: an exception is otherwise made anew from its message."""
        return type(self), (self.what,), self.__dict__ | {"args": self.args}


class UsageError(FlarekitError):
    """An option or argument that no file can make right."""

    exit_code = 2


class InputError(FlarekitError):
    """An input file is missing, unreadable, or not what it has to be."""

    exit_code = 3


class OutputError(FlarekitError):
    """The output exists, cannot be written, or the disk is full."""

    exit_code = 4


class CheckpointError(FlarekitError):
    """A checkpoint is unknown, corrupted, or does not fit its use."""

    exit_code = 5


class TrainingError(FlarekitError):
    """Training cannot start or go on."""

    exit_code = 6


class PartialFailure(FlarekitError):
    """Some cases of a batch failed; the others are complete."""

    exit_code = 7


class MissingDependency(FlarekitError):
    """An optional package or a device that was asked for is not here."""

    exit_code = 8


class OutOfMemory(FlarekitError):
    """The device, or this machine, has too little memory, even for the smallest step."""

    exit_code = 9
