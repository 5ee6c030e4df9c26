"""The running average of the weights: its arithmetic by hand, and what a run makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from test_training import assert_equal, lines, stop_after, train, without_times
from torch import nn
from training_setup import CPS, STCN, Workplace, workplace

from flarekit.checkpoints import Registry
from flarekit.config.training import OptimiserConfig
from flarekit.training.averaging import WeightAverage

__all__ = ["workplace"]


class Scalar(nn.Module):
    """One parameter, and what batch normalisation keeps besides."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("batches", torch.tensor(0))

    def become(self, value: float) -> None:
        with torch.no_grad():
            self.weight.fill_(value)
        self.batches += 1


def test_the_newest_weights_count_for_what_the_decay_leaves() -> None:
    module = Scalar()
    average = WeightAverage(module, 0.75)
    for iteration in (1000, 1001):  # far from the start
        module.become(8.0)
        average.update(iteration)
    assert average.state_dict() == {"weight": torch.tensor(3.5), "batches": torch.tensor(2)}


def test_the_first_weights_are_soon_forgotten() -> None:
    module = Scalar()
    average = WeightAverage(module, 0.999)
    module.become(11.0)
    average.update(1)  # the decay is 2/11
    assert average.state_dict()["weight"] == pytest.approx(9.0)


def test_the_module_gets_its_own_tensors_back_whatever_happens() -> None:
    module = Scalar()
    average = WeightAverage(module, 0.5)
    module.become(1 / 3)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(MemoryError), average.in_place():
        assert module.weight == 0 and module.batches == 0
        raise MemoryError
    assert_equal(module.state_dict(), before)
    average.put()
    assert module.weight == 0


def test_no_decay_but_one_between_0_and_1() -> None:
    for wrong in (0.0, 1.0, -0.1):
        with pytest.raises(ValueError, match="ema lies between 0 and 1"):
            OptimiserConfig(ema=wrong)


@pytest.mark.parametrize("config", [CPS, STCN])
def test_a_run_judges_publishes_and_resumes_the_average(
    workplace: Workplace, config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, optimiser=replace(config.optimiser, ema=0.9))
    card = train(workplace.settings("whole"), config)
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        with pytest.raises(KeyboardInterrupt):
            train(workplace.settings("halves"), config)
    train(workplace.settings("halves"), config, resume=True)
    whole, halves = (workplace.folder / "runs" / name for name in ("whole", "halves"))
    assert without_times(lines(whole, "validation")) == without_times(lines(halves, "validation"))
    state, resumed = (torch.load(folder / "state.pt", weights_only=True) for folder in (whole, halves))
    assert_equal(state, resumed)
    last, loaded = load_file(whole / "last.safetensors"), Registry.default().load(card.reference)
    for name in loaded.networks:
        alone = f"networks.{name}." if len(loaded.networks) > 1 else "network."
        averaged = {k.removeprefix(alone): v for k, v in state["average"].items() if k.startswith(alone)}
        kept = {k.removeprefix(f"{name}."): v for k, v in last.items() if k.startswith(f"{name}.")}
        assert_equal(kept, averaged)
    assert any(not torch.equal(state["average"][name], tensor) for name, tensor in state["objective"].items())


def test_an_average_makes_no_other_step(workplace: Workplace) -> None:
    plain = replace(CPS, loop=replace(CPS.loop, iterations=2))
    train(workplace.settings("plain"), plain)
    train(workplace.settings("averaged"), replace(plain, optimiser=replace(CPS.optimiser, ema=0.9)))
    runs = [workplace.folder / "runs" / name for name in ("plain", "averaged")]
    steps = [without_times(lines(run, "train")) for run in runs]
    assert steps[0] == steps[1]
    scores = [[line["dice"] for line in lines(run, "validation")] for run in runs]
    assert scores[0] != scores[1]
