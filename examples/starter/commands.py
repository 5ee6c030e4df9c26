"""`flarekit` commands in processes of their own, stopped when the budget ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pieces import STOP_S, Clock, OutOfTime

from flarekit.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Runs them in a folder."""

    folder: Path
    threads: int | None  # of each; None: all cores
    clock: Clock

    def run(self, *arguments: object, published: bool = False) -> str:
        """What a command with `--json` writes. Paths are relative to the folder.

        `published`: the models are those of FOLDER/published, and flarekit's own where it lacks them. Raises OutOfTime,
        and UsageError when the command fails.
        """
        threads = () if self.threads is None else ("--threads", self.threads)
        command = [sys.executable, "-m", "flarekit", *map(str, (*threads, *arguments)), "--json"]
        home = self.folder / ("published" if published else "home")
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ | {"FLAREKIT_HOME": str(home)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that what it starts can be stopped with it
        )
        found = self.wait(process)
        if process.returncode:
            raise UsageError(f"`flarekit {' '.join(map(str, arguments[:3]))}` ended with {process.returncode}")
        return found

    def wait(self, process: subprocess.Popen[str]) -> str:
        """What a command writes. When the budget ends, or at Ctrl-C, it is stopped with all that it has started.

        What it finished stays. Raises OutOfTime.
        """
        left = self.clock.left_s
        try:
            return process.communicate(timeout=None if left is None else max(left - STOP_S, 0))[0]
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as stop:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate()
            if isinstance(stop, KeyboardInterrupt):
                raise
            raise OutOfTime from None
