"""Propagation with a network whose answers can be foreseen, and with a real one where only the flow matters."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import tiny_networks
import torch
from propagation_doubles import Matcher, Stack
from torch import Tensor, nn

from flarekit.config.propagation import PropagationConfig
from flarekit.models import STCN
from flarekit.propagation import filled_slices, propagate

SINGLE = PropagationConfig(top_k=1, distance_bias_per_mm=0.0)
DEPTH, HEIGHT, WIDTH = 7, 32, 48


def coloured(depth: int = DEPTH) -> Stack:
    """Patches of one colour each: every slice the same 2 x 3 patches."""
    colours = torch.rand(3, 2, 3, generator=torch.Generator().manual_seed(0))
    return Stack(nn.functional.interpolate(colours[None], scale_factor=16.0).repeat(depth, 1, 1, 1))


def patch(row: int, column: int) -> Tensor:
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 1
    return mask


def classes(probabilities: Tensor) -> Tensor:
    return probabilities.argmax(dim=0)


@pytest.mark.parametrize("config", [SINGLE, replace(SINGLE, memory_every=2), replace(SINGLE, top_k=None)])
def test_what_looks_like_an_object_becomes_it_on_every_slice(config: PropagationConfig) -> None:
    masks = torch.stack((patch(0, 1), patch(1, 2)))
    results = list(propagate(Matcher(), coloured(), {2: masks}, config))
    assert sorted(result.z for result in results) == list(range(DEPTH))
    for result in results:
        assert torch.equal(classes(result.probabilities), (masks * torch.tensor([[[1]], [[2]]])).sum(0).long())
        torch.testing.assert_close(result.probabilities.sum(0), torch.ones(HEIGHT, WIDTH))
        assert (result.confidence > 0.9).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_threads_find_side_by_side_what_is_found_slice_by_slice(precision: str) -> None:
    torch.manual_seed(0)
    network, seen = STCN(tiny_networks.STCN), Stack(torch.rand(9, 3, HEIGHT, WIDTH))
    annotated = {1: torch.stack((patch(0, 1), patch(1, 2))), 6: torch.stack((patch(0, 0), patch(1, 1)))}
    before, answers = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        answers.append(list(propagate(network, seen, annotated, PropagationConfig(precision=precision))))
    torch.set_num_threads(before)
    assert [result.z for result in answers[0]] == [1, 6, 0, 2, 3, 4, 5, 7, 8]
    for alone, together in zip(*answers, strict=True):
        assert alone.z == together.z
        torch.testing.assert_close(together.probabilities, alone.probabilities)


def test_annotated_masks_come_out_as_they_went_in() -> None:
    soft = torch.rand(2, HEIGHT, WIDTH) / 2
    results = {r.z: r for r in propagate(Matcher(), coloured(), {1: soft, 5: torch.zeros_like(soft)}, SINGLE)}
    assert torch.equal(results[1].probabilities[1:], soft)
    assert torch.equal(results[5].probabilities[1:], torch.zeros_like(soft))
    assert torch.equal(results[1].confidence, torch.ones(2))


def test_the_near_annotation_counts_for_more() -> None:
    # The same picture everywhere: slice 0 says the object is there, slice 6 that it is not.
    annotated = {0: patch(0, 0)[None], 6: torch.zeros(1, HEIGHT, WIDTH)}
    config = replace(SINGLE, top_k=None, distance_bias_per_mm=1.0)
    results = {r.z: r for r in propagate(Matcher(), coloured(), annotated, config)}
    taken = [z for z, result in sorted(results.items()) if classes(result.probabilities).any()]
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("memory_every", [0, 1])
def test_each_object_reads_the_slices_it_is_annotated_on(memory_every: int) -> None:
    # Object 0 is annotated on slice 1 alone, object 1 on slice 4 alone.
    masks = {1: torch.stack((patch(0, 0), patch(0, 0))), 4: torch.stack((patch(1, 1), patch(1, 1)))}
    known = {1: torch.tensor([True, False]), 4: torch.tensor([False, True])}
    config = replace(SINGLE, top_k=None, memory_every=memory_every)
    results = propagate(Matcher(), coloured(), masks, config, frame_mask=known)
    expected = (patch(0, 0) + 2 * patch(1, 1)).long()
    for result in results:
        assert torch.equal(classes(result.probabilities), expected), result.z


def test_a_partly_annotated_slice_keeps_what_was_annotated() -> None:
    # On slice 4 object 0 is annotated where object 1 looks to be: object 1 gets the room that is left.
    masks = {1: torch.stack((patch(0, 0), patch(1, 1))), 4: torch.stack((patch(1, 1), patch(0, 2)))}
    known = {4: torch.tensor([True, False])}
    results = {r.z: r for r in propagate(Matcher(), coloured(), masks, SINGLE, frame_mask=known)}
    assert torch.equal(results[4].probabilities[1], patch(1, 1))
    assert not results[4].probabilities[2].gt(0.5).any()
    torch.testing.assert_close(results[4].probabilities.sum(0), torch.ones(HEIGHT, WIDTH))
    assert results[4].confidence[0] == 1


def test_two_directions_meet_half_way_between_annotations() -> None:
    # Slice 0 says the object is there, slice 6 that it is not; each direction believes where it came from.
    there, gone = patch(0, 0)[None], torch.zeros(1, HEIGHT, WIDTH)
    config = replace(SINGLE, top_k=None, distance_bias_per_mm=1.0, memory_every=1, fusion_mm=0.5)
    results = {r.z: r for r in propagate(Matcher(), coloured(), {0: there, 6: gone}, config)}
    taken = {z for z, result in results.items() if classes(result.probabilities).any()}
    assert {0, 1, 2} <= taken and not {4, 5, 6} & taken


def test_a_volume_upside_down_is_propagated_the_same() -> None:
    there, gone = patch(0, 0)[None], torch.zeros(1, HEIGHT, WIDTH)
    config = replace(SINGLE, top_k=None, distance_bias_per_mm=1.0, memory_every=1)
    results = {r.z: r for r in propagate(Matcher(), coloured(), {0: there, 5: gone}, config)}
    flipped = {r.z: r for r in propagate(Matcher(), coloured(), {6: there, 1: gone}, config)}
    for z, result in results.items():
        torch.testing.assert_close(flipped[6 - z].probabilities, result.probabilities)


def test_the_range_is_slices_below_and_above_each_annotated_one() -> None:
    config = PropagationConfig(before=1, after=2)
    assert filled_slices([4], 12, config) == [3, 4, 5, 6]
    assert filled_slices([0, 11], 12, config) == [0, 1, 2, 10, 11]
    assert filled_slices([2, 4], 12, config) == [1, 2, 3, 4, 5, 6]
    assert filled_slices([5, 2], 8, PropagationConfig()) == list(range(8))
    assert filled_slices([3], 8, PropagationConfig(before=0, after=0)) == [3]


@pytest.mark.parametrize("memory_every", [0, 2])
@pytest.mark.parametrize(("before", "after"), [(1, 0), (0, 2), (None, 1), (2, None)])
def test_slices_in_range_are_answered_once(memory_every: int, before: int | None, after: int | None) -> None:
    config = replace(SINGLE, before=before, after=after, memory_every=memory_every)
    annotated = {z: patch(0, 0)[None] for z in (1, 5)}
    seen = [result.z for result in propagate(Matcher(), coloured(), annotated, config)]
    assert sorted(seen) == filled_slices(annotated, DEPTH, config)


def test_slices_are_looked_at_once_each_in_a_single_pass() -> None:
    slices = coloured()
    list(propagate(Matcher(), slices, {2: patch(0, 0)[None]}, SINGLE))
    assert sorted(slices.seen) == list(range(DEPTH))


def test_a_single_slice_volume_is_its_annotation() -> None:
    [result] = propagate(Matcher(), coloured(1), {0: patch(0, 0)[None]}, SINGLE)
    assert torch.equal(result.probabilities[1], patch(0, 0))


@pytest.mark.parametrize("annotated", [{}, {7: patch(0, 0)[None]}, {-1: patch(0, 0)[None]}])
def test_slices_outside_the_volume_are_refused(annotated: dict[int, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"0\.\.6"):
        list(propagate(Matcher(), coloured(), annotated, SINGLE))


@pytest.fixture(scope="module")
def network() -> STCN:
    torch.manual_seed(0)
    return STCN(tiny_networks.STCN)


def test_the_real_network_answers_the_same_for_objects_in_other_batches(network: STCN) -> None:
    slices = Stack(torch.rand(3, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)))
    masks = {1: torch.stack((patch(0, 0), patch(0, 1), patch(1, 2)))}
    one, all_at_once = (list(propagate(network, slices, masks, PropagationConfig(objects_at_once=n))) for n in (1, 3))
    for a, b in zip(one, all_at_once, strict=True):
        torch.testing.assert_close(a.probabilities, b.probabilities, rtol=1e-4, atol=1e-5)


def test_the_order_of_objects_does_not_matter(network: STCN) -> None:
    slices = Stack(torch.rand(3, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)))
    masks = torch.stack((patch(0, 0), patch(0, 1)))
    config = PropagationConfig(memory_every=1)
    straight = propagate(network, slices, {1: masks}, config)
    swapped = propagate(network, slices, {1: masks.flip(0)}, config)
    for a, b in zip(straight, swapped, strict=True):
        torch.testing.assert_close(a.probabilities[1:].flip(0), b.probabilities[1:], rtol=1e-4, atol=1e-5)


def test_an_object_annotated_nowhere_is_found_nowhere(network: STCN) -> None:
    slices, masks = Stack(torch.rand(3, 3, HEIGHT, WIDTH)), {1: torch.stack((patch(0, 0), patch(1, 1)))}
    known = {1: torch.tensor([True, False])}
    for result in propagate(network, slices, masks, PropagationConfig(), frame_mask=known):
        assert result.probabilities[2].max() < 1e-3


def test_other_objects_are_not_seen_until_training_shows_some(network: STCN) -> None:
    image, mask = torch.rand(1, 3, HEIGHT, WIDTH), patch(0, 0)[None, None]
    f16 = network.encode_key(image).f16
    alone = network.encode_value(image, f16, mask, torch.zeros_like(mask))
    torch.testing.assert_close(network.encode_value(image, f16, mask, 1 - mask), alone)
    network.encode_value(image, f16, mask, 1 - mask).sum().backward()
    assert network.value_encoder.resnet.conv1.weight.grad[:, -1].any()


def test_nothing_answered_carries_a_graph(network: STCN) -> None:
    slices = Stack(torch.rand(2, 3, HEIGHT, WIDTH))
    results = list(propagate(network, slices, {0: patch(0, 0)[None]}, PropagationConfig()))
    assert not any(result.probabilities.requires_grad for result in results)


def test_confidence_is_between_nothing_and_certainty(network: STCN) -> None:
    slices = Stack(torch.rand(4, 3, HEIGHT, WIDTH))
    for result in propagate(network, slices, {0: patch(0, 0)[None]}, PropagationConfig()):
        assert 0 <= result.confidence.item() <= 1


def test_gaps_beyond_the_ends_are_walked_away_from_the_annotation() -> None:
    slices = coloured()
    list(propagate(Matcher(), slices, {3: patch(0, 0)[None]}, replace(SINGLE, memory_every=1)))
    assert slices.seen[1:] == [2, 1, 0, 4, 5, 6]
    assert all(abs(a - b) == 1 for a, b in pairwise(slices.seen[1:4]))


@pytest.mark.parametrize(
    ("field", "value"),
    [("top_k", 0), ("before", -1), ("memory_every", -1), ("fusion_mm", 0.0), ("objects_at_once", 0)],
)
def test_settings_that_cannot_be_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        replace(PropagationConfig(), **{field: value})
