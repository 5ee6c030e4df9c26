"""What an iteration of CPS costs, and how much of it waits for data, beside a plain loop over the same networks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from flarekit.config.preprocessing import PREPROCESSING
from flarekit.config.run import Stores
from flarekit.config.training import CPSConfig, LoopConfig
from flarekit.data.case_header import CaseHeader
from flarekit.data.case_writing import write_case
from flarekit.data.compression import DEFAULT
from flarekit.data.datasets import ALL, CPSBatch
from flarekit.data.store import SliceStore, StoreConfig
from flarekit.labels import FLARE22
from flarekit.training.cps import CPSObjective
from flarekit.training.data import gather
from flarekit.training.initial import random_networks
from flarekit.training.loop import Trainer, on_device
from flarekit.training.processes import make_accelerator
from flarekit.training.run_folder import RunFolder
from flarekit.training.tasks import training_of
from flarekit.volumes import Volume

SLICES = 24  # of each of the two CTs trained on
PIXELS = 512  # a side of their slices


@dataclass(frozen=True, kw_only=True)
class TrainCost:
    """Seconds an iteration, the middle of all that were timed."""

    input_shape: tuple[int, ...]  # of what each network sees in an iteration
    iteration_s: float  # of `train cps`, with its data
    waited_share: float  # of that time, waiting for data
    plain_s: float  # of the plain loop, whose batch is in memory already
    peak_gpu_bytes: int | None  # memory that `train cps` takes on a GPU

    @property
    def ratio(self) -> float:
        """Time of `train cps` as a share of the plain loop's."""
        return self.iteration_s / self.plain_s


def bench_train(
    arch: str, *, device: torch.device, precision: str = "fp32", iterations: int = 5, warmup: int = 1
) -> TrainCost:
    """Time iterations of CPS at the paper's batch of 2 + 2 slices, and in turns with them those of a plain loop.

    The networks are of the sizes `arch`, random; slices lie in a store, as in a training. Raises UsageError.
    """
    config = CPSConfig(loop=LoopConfig(iterations=iterations + warmup, precision=precision))
    with TemporaryDirectory() as folder:
        trainer = _trainer(Path(folder), arch, config, device)
        batch = trainer.task.batches[0]
        plain = _plain_steps(arch, config, on_device(batch, device))
        steps, lines, plain_s = trainer.steps(), [], []
        for _ in range(iterations + warmup):
            lines.append(next(steps))
            plain_s.append(next(plain))
    lines, plain_s = lines[warmup:], plain_s[warmup:]
    return TrainCost(
        input_shape=(len(batch.names), *batch.images.shape[1:]),
        iteration_s=statistics.median(line["elapsed_s"] for line in lines),
        waited_share=statistics.median(line["waited_share"] for line in lines),
        plain_s=statistics.median(plain_s),
        peak_gpu_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    )


def _trainer(folder: Path, arch: str, config: CPSConfig, device: torch.device) -> Trainer:
    """What `flarekit train cps` trains with, in a folder that nothing is written to."""
    stores = Stores(labelled=(_store(folder / "labelled", 0),), unlabelled=(_store(folder / "unlabelled", 1),))
    data = gather(replace(stores, held_back=0.0), PREPROCESSING[arch], seed=config.loop.seed)
    networks = random_networks("reference", arch, classes=data.labels.classes, seed=config.loop.seed).networks
    task = training_of(config).make_task(networks, data, ALL)
    return Trainer(task, RunFolder(folder / "run"), make_accelerator(device, config.loop.precision))


def _plain_steps(arch: str, config: CPSConfig, batch: CPSBatch) -> Iterator[float]:
    """Seconds of one iteration after the other of a loop as anybody would write it: eager, float32, one batch."""
    device = batch.images.device
    networks = random_networks("reference", arch, classes=FLARE22.classes, seed=config.loop.seed).networks
    objective = CPSObjective(networks, config).to(device).train()
    optimiser = torch.optim.AdamW(objective.parameters(), lr=config.optimiser.lr)
    while True:
        started = time.perf_counter()
        loss, _ = objective(batch, 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
        yield time.perf_counter() - started


def _store(path: Path, seed: int) -> Path:
    """A store of one labelled CT of noise, with a block for every organ."""
    rng = np.random.default_rng(seed)
    hu = rng.normal(40, 30, (PIXELS, PIXELS, SLICES)).astype(np.int16)
    volume = Volume.from_source(hu, np.diag([-0.8, -0.8, 5.0, 1.0]))
    classes = np.zeros(volume.array.shape, dtype=np.uint8)
    for organ in range(1, FLARE22.classes):
        row, column = divmod(organ - 1, 4)
        classes[:, 60 + 100 * row : 120 + 100 * row, 60 + 100 * column : 120 + 100 * column] = organ
    header = CaseHeader(
        name=f"noise{seed}",
        source=volume.source,
        source_name=f"noise{seed}",
        source_sha256=str(seed),
        label_set=FLARE22,
        labelled=tuple(range(1, FLARE22.classes)),
    )
    store = SliceStore.create(path, StoreConfig(labels=FLARE22))
    write_case(store.case_path(header.name), header, np.ascontiguousarray(volume.array), classes, compression=DEFAULT)
    return path
