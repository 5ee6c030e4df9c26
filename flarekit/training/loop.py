"""The loop that both trainings share: batch, loss, gradient, step; validation; a state to go on from.

A run that was killed and resumed equals one that was not, bit for bit on a CPU: samples and schedules are
functions of the iteration, and the state holds the weights, the optimiser, and the generators of dropout.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from flarekit.checkpoints import load_state, save_state
from flarekit.config.training import LoopConfig, OptimiserConfig
from flarekit.errors import TrainingError, UsageError
from flarekit.training.interrupts import StopRequest, stop_between_iterations
from flarekit.training.run_folder import RunFolder
from flarekit.training.schedule import learning_rate
from flarekit.training.validation import Score

STATE_FORMAT = 1
_MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained, on what, and how it is judged."""

    objective: nn.Module  # called with (batch, iteration), gives the loss and its parts
    networks: Mapping[str, nn.Module]  # those within the objective that are published
    batches: Dataset  # item i is the batch of iteration i and has `names`
    validate: Callable[[], Score] | None  # None where there is nothing to validate on
    loop: LoopConfig
    optimiser: OptimiserConfig


@dataclass
class _Progress:
    """What changes while the loop runs, beside weights and optimiser."""

    iteration: int = 0  # iterations done
    best_dice: float = -1.0
    best_iteration: int = 0
    best_score: dict[str, Any] | None = None


def make_accelerator(device: torch.device, precision: str) -> Accelerator:
    """Device, precision and processes. Raises UsageError for a precision that this device is slow in."""
    if device.type == "cpu" and precision != "float32":
        raise UsageError(
            f"{precision} is far slower than float32 on a CPU", remedy="Leave --precision out, or use a GPU."
        )
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # Encoders may have parameters no gradient reaches (EfficientNet's unused head).
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=device.type == "cpu", mixed_precision=_MIXED_PRECISION[precision], kwargs_handlers=[unused])


def make_optimiser(objective: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW (paper, tables 2 and 3); weights decay, norms and biases do not."""
    parameters = [p for p in objective.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


class Trainer:
    """One run of a task in a folder. `state` is what `RunFolder.continue_with` gave; None starts anew."""

    def __init__(
        self, task: Task, folder: RunFolder, accelerator: Accelerator, state: dict[str, Any] | None = None
    ) -> None:
        self.task, self.folder, self.accelerator = task, folder, accelerator
        self.progress = _Progress()
        self.objective, self.optimiser = accelerator.prepare(
            task.objective, make_optimiser(task.objective, task.optimiser)
        )
        self.waited_s = 0.0
        if state is not None:
            self._restore(state)

    def run(self, *, until: int | None = None) -> dict[str, Any] | None:
        """Train to the last iteration (or `until`); the score of the best validation comes back, None without one.

        The networks then hold the weights of that validation. Raises TrainingError on a loss that is not finite,
        and KeyboardInterrupt, with the state written, when the process is asked to stop.
        """
        last = min(until or self.task.loop.iterations, self.task.loop.iterations)
        self.objective.train()
        bar = tqdm(
            total=self.task.loop.iterations, initial=self.progress.iteration, desc="train", unit="it", leave=False,
            disable=None if self.accelerator.is_main_process else True,
        )  # fmt: skip
        with stop_between_iterations() as request, bar:
            for batch in self._batches(last):
                record = self._step(batch)
                self._after_step(record, request)
                bar.set_postfix(loss=f"{record['loss']:.3f}", dice=f"{max(self.progress.best_dice, 0):.3f}")
                bar.update()
        if self.progress.iteration == self.task.loop.iterations:
            self._load_best()
        return self.progress.best_score

    def _batches(self, last: int) -> Iterator[Any]:
        loader = DataLoader(
            self.task.batches,
            batch_size=None,
            sampler=range(self.progress.iteration, last),
            num_workers=self.task.loop.workers,
            collate_fn=_as_it_is,
            # Its own generator: a loader would otherwise draw from the one that dropout uses.
            generator=torch.Generator(),
        )
        batches = iter(loader)
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            self.waited_s = time.perf_counter() - started
            if batch is None:
                return
            yield batch

    def _step(self, batch: Any) -> dict[str, Any]:
        """One optimiser step; its line of the metrics comes back."""
        started, iteration, config = time.perf_counter(), self.progress.iteration, self.task.optimiser
        lr = learning_rate(config, iteration, self.task.loop.iterations)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        loss, parts = self.objective(send_to_device(batch, self.accelerator.device), iteration)
        _require_finite(loss, iteration, batch.names)
        self.optimiser.zero_grad()
        self.accelerator.backward(loss)
        if config.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.objective.parameters(), config.clip_norm)
        self.optimiser.step()
        self.progress.iteration += 1
        elapsed_s = time.perf_counter() - started + self.waited_s
        return {
            "kind": "train",
            "iteration": self.progress.iteration,
            "lr": lr,
            "loss": loss.item(),
            **{name: part.item() for name, part in parts.items()},
            "elapsed_s": round(elapsed_s, 4),
            "waited_share": round(self.waited_s / elapsed_s, 4),
        }

    def _after_step(self, record: dict[str, Any], request: StopRequest) -> None:
        loop, iteration = self.task.loop, self.progress.iteration
        if self.accelerator.is_main_process:
            self.folder.append_metrics(record)
        last = iteration == loop.iterations
        if last or iteration % loop.validate_every == 0:
            self._validate()
        if last or request.asked or iteration % loop.save_every == 0:
            self._save()
        if request.asked and not last:
            logger.warning("Stopped after iteration %d; --resume goes on from there.", iteration)
            raise KeyboardInterrupt

    def _validate(self) -> None:
        if self.task.validate is None or not self.accelerator.is_main_process:
            return
        started = time.perf_counter()
        score = self.task.validate()
        self.objective.train()
        elapsed_s = round(time.perf_counter() - started, 2)
        iteration = self.progress.iteration
        self.folder.append_metrics(
            {"kind": "validation", "iteration": iteration, **score.to_json(), "elapsed_s": elapsed_s}
        )
        logger.info("Iteration %d: validation Dice %.4f (%.0f s)", iteration, score.dice, elapsed_s)
        if score.dice >= self.progress.best_dice:  # of equals the last: the first ones may all have found nothing
            self.progress.best_dice, self.progress.best_iteration = score.dice, iteration
            self.progress.best_score = score.to_json() | {"iteration": iteration}
            save_state(self.folder.best, {name: n.state_dict() for name, n in self.task.networks.items()})

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        self.folder.save_state(
            {
                "format": STATE_FORMAT,
                "iteration": self.progress.iteration,
                "best_dice": self.progress.best_dice,
                "best_iteration": self.progress.best_iteration,
                "best_score": self.progress.best_score,
                "objective": self.task.objective.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "generator": torch.get_rng_state(),
                "cuda_generators": torch.cuda.get_rng_state_all(),
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else {},
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        if state.get("format") != STATE_FORMAT:
            raise TrainingError(
                f"the state has format {state.get('format')}, this flarekit reads {STATE_FORMAT}",
                where=self.folder.state,
                remedy="Start the run anew under another name.",
            )
        self.progress = _Progress(
            iteration=state["iteration"],
            best_dice=state["best_dice"],
            best_iteration=state["best_iteration"],
            best_score=state["best_score"],
        )
        self.task.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["generator"])
        if len(state["cuda_generators"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_generators"])

    def _load_best(self) -> None:
        if self.progress.best_score is None:
            return
        best = load_state(self.folder.best)
        for name, network in self.task.networks.items():
            network.load_state_dict(best[name])


def _as_it_is(batch: Any) -> Any:
    return batch


def _require_finite(loss: Tensor, iteration: int, names: tuple[str, ...]) -> None:
    if not math.isfinite(loss.item()):
        raise TrainingError(
            f"the loss is {loss.item()} in iteration {iteration + 1}, on {'; '.join(names)}",
            remedy="Lower --lr, or look at these slices; --resume goes on from the last state.",
        )
