"""Propagation in half precision: what is lowered, what stays, and that the masks do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import cast

import pytest
import tiny_networks
import torch
from propagation_doubles import Stack

from flarekit.cli.segment import _config
from flarekit.config.propagation import PropagationConfig
from flarekit.errors import CheckpointError, UsageError
from flarekit.models import STCN
from flarekit.propagation import propagate
from flarekit.propagation.precision import Lowered, arithmetic
from flarekit.propagation.step import remember
from flarekit.propagation.views import Views

CONFIG = PropagationConfig(precision="fp32", memory_every=1)
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@pytest.fixture(scope="module")
def network() -> STCN:
    torch.manual_seed(0)
    return STCN(tiny_networks.STCN).eval()


def stack() -> Stack:
    return Stack(torch.rand(4, 3, 64, 96, generator=torch.Generator().manual_seed(0)))


def masks() -> torch.Tensor:
    planes = torch.zeros(2, 64, 96)
    planes[0, 16:40, 20:60] = 1
    planes[1, 40:60, 20:60] = 1
    return planes


def test_by_default_a_gpu_computes_in_half_precision_and_nothing_else_does() -> None:
    assert arithmetic("auto", torch.device("cuda")) == torch.float16
    assert arithmetic("auto", torch.device("cpu")) == torch.float32
    assert arithmetic("fp32", torch.device("cuda", 1)) == torch.float32
    with pytest.raises(ValueError, match="fp16, bf16, got 'half'"):
        replace(CONFIG, precision="half")


@pytest.mark.parametrize("precision", HALVES)
@torch.inference_mode()
def test_features_keys_and_values_are_lowered_and_weights_are_not(network: STCN, precision: str) -> None:
    view = Views(network, stack(), 64, precision).at(1)
    assert {part.dtype for part in (*view.features, view.skips.skip4, *view.skips.fusion)} == {HALVES[precision]}
    frame = remember(view, masks(), torch.ones(2, dtype=torch.bool), margin=1, at_once=2)
    assert frame.key.dtype == frame.value.dtype == HALVES[precision]
    assert {p.dtype for p in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", HALVES)
def test_half_precision_finds_the_same(network: STCN, precision: str) -> None:
    exact, lowered = (
        {r.z: r.probabilities for r in propagate(network, stack(), {0: masks(), 3: masks()}, config)}
        for config in (CONFIG, replace(CONFIG, precision=precision))
    )
    assert not torch.equal(exact[1], lowered[1])
    for z, planes in exact.items():
        assert lowered[z].dtype == torch.float32
        torch.testing.assert_close(lowered[z], planes, rtol=0, atol=0.02)


def test_on_a_cpu_automatic_is_full_precision(network: STCN) -> None:
    exact, automatic = (
        [r.probabilities for r in propagate(network, stack(), {0: masks()}, config)]
        for config in (CONFIG, replace(CONFIG, precision="auto"))
    )
    assert all(map(torch.equal, exact, automatic))


@pytest.mark.parametrize("command", [("propagate", "ct.nii", "drawn.nii", "-o", "out.nii"), ("segment", "ct.nii")])
def test_an_unknown_precision_is_refused(run_cli, command: tuple[str, ...]) -> None:
    outcome = run_cli(*command, "--precision", "half")
    assert outcome.code == 2 and "auto, fp32, fp16, bf16, got 'half'" in " ".join(outcome.stderr.split())


def test_segment_hands_its_settings_on() -> None:
    config = _config(None, 4, 1, "largest-area", "bf16", flips=False, least_piece=0.5)
    assert config.propagation.precision == "bf16" and config.least_piece == 0.5


class Busy(torch.nn.Linear):
    """A network that is asked in another thread while it answers in one."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.meanwhile: list[Callable[[], object]] = []

    def encode_key(self, image: torch.Tensor) -> None:
        if self.meanwhile:
            thread = threading.Thread(target=self.meanwhile.pop())
            thread.start()
            thread.join()


def test_threads_that_compute_at_once_keep_each_its_own_precision() -> None:
    network, image = Busy(), torch.rand(1, 3, 16, 16)
    lowered = Lowered(cast(STCN, network), torch.bfloat16)
    network.meanwhile.append(lambda: lowered.encode_key(image))
    with torch.autocast("cpu", torch.float16):
        lowered.encode_key(image)
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16


def overflowing(network: STCN, part: str, factor: float) -> STCN:
    """A copy whose part gives what fits into float32 and not into float16."""
    changed = deepcopy(network)
    for parameter in changed.get_submodule(part).parameters():
        parameter.data.mul_(factor)
    return changed


@pytest.mark.parametrize("part", ["key_projection", "decoder.predict"])
@pytest.mark.parametrize("memory_every", [0, 1])
def test_an_overflow_is_said_and_no_mask_is_made_of_it(network: STCN, part: str, memory_every: int) -> None:
    changed, config = overflowing(network, part, 1e6), replace(CONFIG, memory_every=memory_every)
    with pytest.raises(UsageError, match="overflows float16") as caught:
        list(propagate(changed, stack(), {0: masks()}, replace(config, precision="fp16")))
    assert "--precision bf16" in caught.value.remedy
    for precision in ("fp32", "bf16"):
        assert len(list(propagate(changed, stack(), {0: masks()}, replace(config, precision=precision)))) == 4


def test_infinite_logits_are_no_certainty(network: STCN, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(self: STCN, readout: torch.Tensor, features: object) -> torch.Tensor:
        height, width = readout.shape[-2:]
        return torch.full((len(readout), 1, 16 * height, 16 * width), torch.inf)

    monkeypatch.setattr(STCN, "decode", overflow)
    for precision, error in (("fp16", UsageError), ("fp32", CheckpointError)):
        with pytest.raises(error):
            list(propagate(network, stack(), {0: masks()}, replace(CONFIG, precision=precision)))
