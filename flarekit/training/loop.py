"""The loop that all trainings share: batches, loss, gradient, step; validation; a state to go on from.

A run that was killed and resumed equals one that was not, bit for bit on a CPU: samples, schedules and dropout are
functions of the iteration, and the state holds the weights, their average, and the optimiser.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from flarekit.checkpoints.weights import read_weights, write_weights
from flarekit.config.training import LoopConfig, OptimiserConfig
from flarekit.data.datasets import ClipBatch, CPSBatch
from flarekit.training.averaging import WeightAverage
from flarekit.training.interrupts import StopRequest, stop_between_iterations
from flarekit.training.metrics_log import Record
from flarekit.training.non_finite import refuse_loss
from flarekit.training.optimiser import make_optimiser
from flarekit.training.processes import Processes, anywhere, mean_of_processes
from flarekit.training.run_folder import RunFolder
from flarekit.training.schedule import learning_rate
from flarekit.training.state import Progress, restore, seed_dropout, snapshot
from flarekit.training.validation import Score

GPU_WORKERS = 4  # loader processes beside a GPU, where their number is not given

logger = logging.getLogger(__name__)

Batch = TypeVar("Batch", CPSBatch, ClipBatch)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained, on what, and how it is judged."""

    objective: nn.Module  # called with (batch, iteration), gives the loss and its parts by slice
    networks: Mapping[str, nn.Module]  # those within the objective that are published
    batches: Dataset  # item i belongs to iteration i // accumulate; it has `names` and `singles`
    validate: Callable[[], Score] | None  # None where there is nothing to validate on
    loop: LoopConfig
    optimiser: OptimiserConfig


class Trainer:
    """One run of a task in a folder. `state` is what `RunFolder.last_state` gave; None starts anew."""

    def __init__(
        self,
        task: Task,
        folder: RunFolder,
        accelerator: Processes,
        state: dict[str, Any] | None = None,
        *,
        record: Record | None = None,
    ) -> None:
        self.task, self.folder, self.accelerator = task, folder, accelerator
        self.record = record or folder.append_metrics
        if accelerator.device.type in ("cpu", "cuda"):  # convolutions are quicker so; not tried elsewhere
            task.objective.to(memory_format=torch.channels_last)
        optimiser = make_optimiser(task.objective, task.optimiser)
        prepared: tuple[nn.Module, torch.optim.Optimizer] = accelerator.prepare(task.objective, optimiser)
        self.objective, self.optimiser = prepared
        ema = task.optimiser.ema
        self.average = None if ema is None else WeightAverage(task.objective, ema)
        self.progress = Progress()
        if state is not None:
            self.progress = restore(
                state, task.objective, self.optimiser, accelerator, self.average, where=folder.state
            )
        self.waited_s = 0.0

    def run(self) -> dict[str, Any] | None:
        """Train to the last iteration; the score of the best validation comes back, None without one.

        The networks then hold the weights of that validation. Raises TrainingError on a loss that is not finite,
        and KeyboardInterrupt, with the state written, when the process is asked to stop.
        """
        iterations = self.task.loop.iterations
        self.first_iteration, self.started = self.progress.iteration, time.perf_counter()
        bar = tqdm(
            total=iterations, initial=self.progress.iteration, desc="train", unit="it", leave=False,
            disable=None if self.accelerator.is_main_process else True,
        )  # fmt: skip
        with stop_between_iterations() as request, bar:
            for line in self.steps():
                self._after_step(line, request)
                bar.set_postfix(loss=f"{line['loss']:.3f}", dice=f"{max(self.progress.best_dice, 0):.3f}")
                bar.update()
        self._finish()
        return self.progress.best_score

    def steps(self) -> Iterator[dict[str, Any]]:
        """Take one optimiser step after the other; the line of the metrics comes back for each.

        Nothing is written. Raises TrainingError on a loss that is not finite.
        """
        self.objective.train()
        for batches in self._batches():
            yield self._step(batches)

    def _batches(self) -> Iterator[list[Any]]:
        """The batches of one iteration after the other: as many as gradients are accumulated over."""
        count = self.task.loop.accumulate
        loader = iter(self._loader(range(self.progress.iteration * count, self.task.loop.iterations * count)))
        while True:
            started = time.perf_counter()
            batches = [batch for _, batch in zip(range(count), loader, strict=False)]
            self.waited_s = time.perf_counter() - started
            if not batches:
                return
            yield batches

    def _loader(self, indices: range) -> DataLoader:
        on_gpu, workers = self.accelerator.device.type == "cuda", self.task.loop.workers
        return DataLoader(
            self.task.batches,
            batch_size=None,
            sampler=indices,
            num_workers=(GPU_WORKERS if on_gpu else 0) if workers is None else workers,
            collate_fn=_as_it_is,
            pin_memory=on_gpu,
        )

    def _step(self, batches: list[Any]) -> dict[str, Any]:
        """One optimiser step; its line of the metrics comes back."""
        started, iteration = time.perf_counter(), self.progress.iteration
        lr = learning_rate(self.task.optimiser, iteration, self.task.loop.iterations)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        batches = [on_device(batch, self.accelerator.device) for batch in batches]
        parts = self._gradients(batches, iteration)
        if not math.isfinite(parts["loss"]):
            refuse_loss(parts["loss"], iteration, self.task.objective, batches, self.accelerator)
        if self.task.optimiser.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.objective.parameters(), self.task.optimiser.clip_norm)
        self.optimiser.step()
        self.progress.iteration += 1
        if self.average is not None:
            self.average.update(self.progress.iteration)
        elapsed_s = time.perf_counter() - started + self.waited_s
        return {
            "kind": "train",
            "iteration": self.progress.iteration,
            "lr": lr,
            **parts,
            "elapsed_s": round(elapsed_s, 4),
            "waited_share": round(self.waited_s / elapsed_s, 4),
        }

    def _gradients(self, batches: list[Any], iteration: int) -> dict[str, float]:
        """Gradients of the mean loss over the batches of all processes; loss and parts come back as their means."""
        self.optimiser.zero_grad()
        means = []
        for number, batch in enumerate(batches):
            share = number * self.accelerator.num_processes + self.accelerator.process_index
            seed_dropout(self.task.loop.seed, iteration, share)
            last = number == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.objective):
                loss, parts = self.objective(batch, iteration)
                self.accelerator.backward(loss / len(batches))
            parts = {"loss": loss.detach(), **parts}
            means.append(torch.stack([part.float().mean() for part in parts.values()]))
        values = mean_of_processes(self.accelerator, torch.stack(means).mean(0))
        return dict(zip(parts, values, strict=True))

    def _after_step(self, line: dict[str, Any], request: StopRequest) -> None:
        loop, iteration = self.task.loop, self.progress.iteration
        if self.accelerator.is_main_process:
            self.record(line)
        last = iteration == loop.iterations
        stop = anywhere(self.accelerator, request.asked)
        if last or iteration % loop.validate_every == 0:
            self._validate()
        if last or stop or iteration % loop.save_every == 0:
            self._save()
        if stop and not last:
            logger.warning("Stopped after iteration %d; --resume goes on from there.", iteration)
            raise KeyboardInterrupt

    def _validate(self) -> None:
        if self.task.validate is None or not self.accelerator.is_main_process:
            return
        with nullcontext() if self.average is None else self.average.in_place():
            self._judge(self.task.validate)
        self.objective.train()

    def _judge(self, validate: Callable[[], Score]) -> None:
        """Validate the weights that the networks hold, and keep them if they are the best so far."""
        started = time.perf_counter()
        score = validate()
        elapsed_s = round(time.perf_counter() - started, 2)
        iteration = self.progress.iteration
        self.record({"kind": "validation", "iteration": iteration, **score.to_json(), "elapsed_s": elapsed_s})
        said = "unknown, as no case shows an organ that is scored" if score.dice is None else f"{score.dice:.4f}"
        logger.info("Iteration %d: validation Dice %s%s", iteration, said, self._time_left())
        dice = -1.0 if score.dice is None else score.dice
        if dice >= self.progress.best_dice:  # of equals the last: the first ones may all have found nothing
            self.progress.best_dice = dice
            self.progress.best_score = score.to_json() | {"iteration": iteration}
            write_weights(self.folder.best, self.task.networks, half=False, overwrite=True)

    def _time_left(self) -> str:
        iteration = self.progress.iteration
        pace_s = (time.perf_counter() - self.started) / (iteration - self.first_iteration)
        minutes = round(pace_s * (self.task.loop.iterations - iteration) / 60)
        return f", about {minutes // 60} h {minutes % 60:02d} min left" if minutes else ""

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            state = snapshot(self.progress, self.task.objective, self.optimiser, self.accelerator, self.average)
            self.folder.save_state(state)

    def _finish(self) -> None:
        """Keep the last weights, or their average, and put the best ones into the networks."""
        if not self.accelerator.is_main_process:
            return
        if self.average is not None:
            self.average.put()
        write_weights(self.folder.last, self.task.networks, half=False, overwrite=True)
        if self.progress.best_score is not None:
            read_weights(self.folder.best, self.task.networks)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on the device."""
    parts: dict[str, Any] = batch._asdict()
    moved = {name: part.to(device, non_blocking=True) for name, part in parts.items() if isinstance(part, Tensor)}
    return type(batch)(**parts | moved)


def _as_it_is(batch: Any) -> Any:
    return batch
