"""Where the lines of `metrics.jsonl` go besides: TensorBoard, for who asks for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flarekit.errors import MissingDependency
from flarekit.training.run_folder import RunFolder

Record = Callable[[dict[str, Any]], None]  # takes one line of the metrics

_NOT_CURVES = frozenset({"kind", "iteration"})


@contextmanager
def metrics_log(folder: RunFolder, *, tensorboard: bool, done: int) -> Iterator[Record]:
    """Takes the metrics of the iterations after `done`. Raises OutputError."""
    if not tensorboard:
        yield folder.append_metrics
        return
    writer = _writer(folder, done)

    def record(line: dict[str, Any]) -> None:
        folder.append_metrics(line)
        for name, value in curves_of(line).items():
            writer.add_scalar(name, value, line["iteration"])
        writer.flush()

    try:
        yield record
    finally:
        writer.close()


def curves_of(line: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a line, by paths such as "train/loss" and "validation/organs/liver"."""
    prefix = prefix or f"{line['kind']}/"
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, dict):
            found |= curves_of(value, f"{prefix}{name}/")
        elif name not in _NOT_CURVES and value is not None:
            found[f"{prefix}{name}"] = value
    return found


def require_tensorboard() -> None:
    """Raises MissingDependency where TensorBoard is not installed: to be called before long work."""
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingDependency(
            "--tensorboard needs TensorBoard", remedy="Install it with `pip install tensorboard`, or leave it out."
        )


def _writer(folder: RunFolder, done: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder.path / "tensorboard"), purge_step=done + 1)
