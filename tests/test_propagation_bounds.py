"""What propagation keeps is bounded: by its budget, and whatever the volume's length."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from propagation_doubles import Matcher, Stack
from torch import Tensor

from flarekit.config.propagation import PropagationConfig
from flarekit.errors import UsageError
from flarekit.propagation import filled_slices, propagate
from flarekit.propagation.memory import Frame, MemoryBank, ring_places
from flarekit.propagation.ranges import Gap, gaps
from flarekit.propagation.views import Views

CONFIG = PropagationConfig(top_k=1, memory_every=3, memory_frames=4, views_mb=1)
MASK = torch.zeros(1, 32, 48)
MASK[:, :16, :16] = 1


def coloured() -> Tensor:
    """(1, 3, 32, 48): patches of one colour each."""
    colours = torch.rand(1, 3, 2, 3, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(colours, scale_factor=16.0)


class Long:
    """A volume whose slices are made when they are asked for, and watched."""

    spacing_z_mm = 0.8

    def __init__(self, depth: int) -> None:
        self.depth, self.alive, self.most, self.seen = depth, weakref.WeakSet(), 0, []

    def __len__(self) -> int:
        return self.depth

    def images(self, slices: Sequence[int]) -> Tensor:
        self.seen += slices
        image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(slices[0]))
        self.alive.add(image)
        self.most = max(self.most, len(self.alive))
        return image


@pytest.mark.parametrize("annotated", [(749,), (0, 1499)])
def test_1500_slices_are_answered_once_each_and_not_kept(annotated: tuple[int, ...]) -> None:
    slices, seen = Long(1500), []
    waiting: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0
    for result in propagate(Matcher(), slices, dict.fromkeys(annotated, MASK), replace(CONFIG, memory_every=50)):
        waiting.add(result.found.planes)
        seen.append(result.z)
        most = max(most, len(waiting))
    assert sorted(seen) == list(range(1500))
    assert most <= 3
    gc.collect()
    assert slices.most < 150


def test_directions_meet_in_the_middle_of_a_long_gap() -> None:
    [_, gap, _] = gaps([0, 1001], 1002, PropagationConfig())
    meeting = gap.meeting(20)
    assert meeting.forward == range(1, 511 + 0) and meeting.backward == range(1000, 490, -1)
    assert sorted({*meeting.forward, *meeting.backward}) == gap.slices
    assert Gap(range(3, 6), range(5, 2, -1)).meeting(20) == Gap(range(3, 6), range(5, 2, -1))


@pytest.mark.parametrize(("before", "after"), [(2, None), (None, 2), (300, 50), (5, 5)])
def test_no_slice_in_range_is_lost_where_directions_end_early(before: int | None, after: int | None) -> None:
    config = replace(CONFIG, before=before, after=after)
    for gap in gaps([100, 500], 700, config):
        meeting = gap.meeting(10)
        assert sorted({*meeting.forward, *meeting.backward}) == gap.slices


def test_slices_that_both_directions_need_are_looked_at_once() -> None:
    slices = Long(30)
    list(propagate(Matcher(), slices, {0: MASK, 29: MASK}, replace(CONFIG, views_mb=64)))
    assert sorted(slices.seen) == list(range(30))


def test_the_least_recently_used_views_are_forgotten() -> None:
    slices = Stack(torch.rand(40, 3, 256, 256))
    views = Views(Matcher(), slices, 4)  # type: ignore[arg-type]
    for z in (*range(10), 9, 0):
        views.at(z)
    assert slices.seen.count(9) == 1 and slices.seen.count(0) == 2


def test_a_budget_too_small_for_the_annotated_slices_is_refused_with_what_they_need() -> None:
    # A frame has 6 tokens of 3 key channels, a value, and what shows the object: 120 bytes.
    annotated = dict.fromkeys(range(8500), MASK)
    with pytest.raises(UsageError, match=r"budget of 1 MB cannot hold 8500 annotated slices. They need 2 MB"):
        next(propagate(Matcher(), Long(8500), annotated, replace(CONFIG, memory_budget_mb=1)))


def test_the_ring_has_as_many_places_as_the_budget_leaves() -> None:
    key, value = torch.zeros(1000, 64), torch.zeros(3, 1000, 61)  # with what shows the objects, 1 MB
    frame = Frame(z=0, key=key, value=value, shows=torch.zeros(3, 1000), usable=torch.ones(3, dtype=torch.bool))
    assert frame.size_mb == pytest.approx(1.0)
    assert ring_places(frame, permanent=5, wanted=8, budget_mb=20) == 8
    assert ring_places(frame, permanent=5, wanted=8, budget_mb=8) == 3
    assert ring_places(frame, permanent=5, wanted=8, budget_mb=5) == 0
    with pytest.raises(UsageError, match="need 5 MB"):
        ring_places(frame, permanent=5, wanted=0, budget_mb=4)


def test_without_room_for_propagated_slices_the_annotated_ones_are_kept() -> None:
    frame = Frame(
        z=0, key=torch.zeros(1, 2), value=torch.ones(1, 1, 1), shows=torch.ones(1, 1), usable=torch.ones(1) > 0
    )
    bank = MemoryBank(frame, permanent=1, passing=0)
    bank.keep(frame)
    bank.pass_by(replace(frame, value=torch.zeros(1, 1, 1)))
    assert bank.read(torch.zeros(1, 2), 0, top_k=None, bias_per_slice=0.0).value.item() == 1


def test_an_object_on_the_last_slice_alone_is_carried_down_from_there() -> None:
    slices = Stack(coloured().repeat(5, 1, 1, 1))
    nothing = torch.zeros_like(MASK)
    results = {
        r.z: r
        for r in propagate(
            Matcher(), slices, {0: nothing, 4: MASK}, PropagationConfig(top_k=4, distance_bias_per_mm=1.0)
        )
    }
    assert not results[0].probabilities[1].any()
    assert results[3].probabilities[1, :16, :16].min() > 0.5


def test_refined_slices_are_found_anew() -> None:
    slices = Stack(coloured().repeat(3, 1, 1, 1))
    soft = MASK * 0.8
    kept, refined = (
        {r.z: r for r in propagate(Matcher(), slices, {1: soft}, PropagationConfig(top_k=1, refine=refine))}
        for refine in (False, True)
    )
    assert torch.equal(kept[1].probabilities[1:], soft)
    torch.testing.assert_close(refined[1].probabilities, refined[0].probabilities)


def test_every_slice_annotated_leaves_nothing_to_fill() -> None:
    annotated = dict.fromkeys(range(3), MASK)
    assert [r.z for r in propagate(Matcher(), Long(3), annotated, CONFIG)] == filled_slices(annotated, 3, CONFIG)
