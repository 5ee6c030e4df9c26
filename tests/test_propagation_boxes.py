"""Boxes around objects, what is found in them, and that confining changes nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_networks
import torch
from propagation_doubles import Matcher, Stack
from torch import Tensor

from flarekit.config.propagation import PropagationConfig
from flarekit.models import STCN, DecoderSkips, aggregate
from flarekit.propagation import propagate
from flarekit.propagation.boxes import Box, batches, boxes_around, touched_tokens
from flarekit.propagation.found import Found, Patch, assemble, at_the_borders, grown, nothing_found
from flarekit.propagation.step import look, remember

FRAME = Box(0, 6, 0, 9)


def hot(*tokens: tuple[int, int]) -> Tensor:
    planes = torch.zeros(1, 6, 9, dtype=torch.bool)
    for row, column in tokens:
        planes[0, row, column] = True
    return planes


def test_a_box_holds_all_hot_tokens_and_a_margin_with_even_sides() -> None:
    assert boxes_around(hot((2, 3), (3, 5)), 1) == [Box(1, 5, 2, 8)]  # columns 2..6 take one more to be even
    assert boxes_around(hot((0, 8)), 2) == [Box(0, 4, 5, 9)]
    assert boxes_around(hot(), 1) == [None]


def test_a_token_is_touched_by_a_single_pixel() -> None:
    mask = torch.zeros(1, 32, 48)
    mask[0, 16, 15] = 0.4
    assert touched_tokens(mask, 0.3).nonzero().tolist() == [[0, 1, 0]]
    assert not touched_tokens(mask, 0.5).any()


def test_boxes_of_equal_sides_are_decoded_together() -> None:
    boxes = {0: Box(0, 2, 0, 4), 3: Box(2, 4, 5, 9), 5: Box(0, 4, 0, 4), 6: Box(1, 3, 1, 5)}
    assert batches(boxes, 2) == [[0, 3], [6], [5]]


def test_a_box_grows_where_its_object_goes_on_unless_the_slice_ends_there() -> None:
    probability = torch.zeros(32, 64)
    assert grown(Patch(Box(2, 4, 2, 6), probability), FRAME) is None
    probability[5, -1] = 0.9
    assert grown(Patch(Box(2, 4, 2, 6), probability), FRAME) == Box(2, 4, 2, 9)
    assert grown(Patch(Box(2, 4, 5, 9), probability), FRAME) is None


def test_patches_are_aggregated_as_if_they_were_whole_slices() -> None:
    # Two boxes that overlap; outside them both objects have the 2 % that their borders show.
    first, second = torch.full((32, 64), 0.02), torch.full((32, 64), 0.02)
    first[8:24, 8:40] = 0.9
    second[8:24, 8:40] = 0.7
    own = torch.full((3, 96, 144), 0.02)
    own[0, 16:48, 16:80] = first
    own[2, 32:64, 32:96] = second
    patches = {0: Patch(Box(1, 3, 1, 5), first), 2: Patch(Box(2, 4, 2, 6), second)}
    found = assemble(patches, Box(1, 4, 1, 6), at_the_borders(patches), absent=1)
    assert (found.objects, found.box) == ((0, 2), Box(1, 4, 1, 6))
    expected = aggregate(own)[:, 16:64, 16:96]
    kept = expected[[0, 1, 3]] / expected[[0, 1, 3]].sum(0)
    torch.testing.assert_close(found.planes, kept, rtol=1e-4, atol=1e-5)


def test_nothing_found_is_background_everywhere() -> None:
    found = nothing_found(FRAME, torch.device("cpu"))
    whole = found.on(range(3), FRAME).planes
    assert whole.shape == (4, 96, 144) and (whole[0] == 1).all() and not whole[1:].any()


def test_more_objects_and_a_larger_box_add_background_alone() -> None:
    planes = torch.tensor([0.25, 0.75])[:, None, None].expand(2, 16, 16)
    wider = Found((4,), Box(1, 2, 1, 2), planes).on((2, 4), Box(0, 2, 0, 3))
    assert wider.objects == (2, 4)
    assert (wider.planes[2, 16:, 16:32] == 0.75).all() and wider.planes[2].sum() == 0.75 * 256
    torch.testing.assert_close(wider.planes.sum(0), torch.ones(32, 48))


@pytest.fixture(scope="module")
def network() -> STCN:
    torch.manual_seed(0)
    return STCN(tiny_networks.STCN).eval()


def corner(size: int, height: int = 192, width: int = 256) -> Tensor:
    mask = torch.zeros(height, width)
    mask[20 : 20 + size, 30 : 30 + size] = 1
    return mask


@torch.inference_mode()
def test_values_around_a_mask_are_those_of_the_whole_slice_close_to_it_and_nobodys_far_away(network: STCN) -> None:
    view = look(network, torch.rand(1, 3, 192, 256, generator=torch.Generator().manual_seed(0)), 0)
    masks, known = torch.stack((corner(20), corner(0))), torch.ones(2, dtype=torch.bool)
    whole = remember(view, masks, known, margin=None, at_once=2)
    around = remember(view, masks, known, margin=3, at_once=2)
    assert whole.value.shape == around.value.shape
    assert torch.equal(whole.shows, around.shows) and whole.shows.sum() == 6
    tokens = whole.value.unflatten(1, (12, 16)), around.value.unflatten(1, (12, 16))
    scale = whole.value.std()
    assert (tokens[0] - tokens[1])[0, 1:3, 1:4].abs().max() < 0.2 * scale
    torch.testing.assert_close(tokens[0][:, 10:, 12:], tokens[1][:, 10:, 12:], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(whole.value[1], around.value[1], rtol=1e-4, atol=1e-5)


def patched(depth: int = 5) -> Stack:
    """Slices of 12 x 16 patches, each of its own colour."""
    colours = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(3))
    return Stack(torch.nn.functional.interpolate(colours, scale_factor=16.0).repeat(depth, 1, 1, 1))


@pytest.mark.parametrize("memory_every", [0, 1])
def test_confined_and_dense_find_the_same_masks(memory_every: int) -> None:
    masks = torch.stack((corner(20), corner(60) * (1 - corner(20)), corner(0)))
    config = PropagationConfig(top_k=1, memory_every=memory_every, margin_px=16, memory_margin_px=16)
    confined, dense = (
        {r.z: r for r in propagate(Matcher(), patched(), {2: masks}, replace(config, dense=d))} for d in (False, True)
    )
    assert confined[0].found.objects == (0, 1) and dense[0].found.objects == (0, 1, 2)
    for z, result in confined.items():
        assert torch.equal(result.probabilities.argmax(0), dense[z].probabilities.argmax(0))


class Hesitant(Matcher):
    """Gives every object some probability where it is not: how much, a patch's colour decides."""

    def decode(self, readout: Tensor, features: DecoderSkips) -> Tensor:
        doubt = 4 * features.fusion[0][:, :1] / self.scale - 6
        return torch.nn.functional.interpolate(torch.where(readout > 0.5, 5.0, doubt), scale_factor=16.0)


def test_a_hesitant_network_gives_the_objects_that_are_not_there_what_it_gives_densely() -> None:
    far = torch.zeros(192, 256)
    far[96:128, 144:192] = 1
    masks = torch.stack((corner(20), far, corner(0), corner(0)))
    config = PropagationConfig(top_k=1, margin_px=16)
    confined, dense = (
        {r.z: r for r in propagate(Hesitant(), patched(), {2: masks}, replace(config, dense=d))}[0]
        for d in (False, True)
    )
    assert confined.found.objects == (0, 1)
    inside = confined.found.box.cut(dense.probabilities, 16)
    assert inside[0].max() - inside[0].min() > 0.1
    torch.testing.assert_close(confined.found.planes, inside[:3] / inside[:3].sum(dim=0), rtol=1e-3, atol=1e-4)


def test_an_object_that_reappears_elsewhere_is_found_there() -> None:
    # The patch that looks like the object lies elsewhere on slice 3: no earlier mask points to it.
    slices = patched()
    there = slices.stack[3, :, 16:32, 32:48].clone()
    slices.stack[3, :, 16:32, 32:48] = slices.stack[3, :, 144:160, 208:224]
    slices.stack[3, :, 144:160, 208:224] = there
    mask = torch.zeros(1, 192, 256)
    mask[0, 16:32, 32:48] = 1
    config = PropagationConfig(top_k=1, distance_bias_per_mm=0.0)
    results = {r.z: r for r in propagate(Matcher(), slices, {1: mask}, config)}
    taken = results[3].probabilities.argmax(0)
    assert (taken[144:160, 208:224] == 1).all() and taken.sum() == 256


def test_whoever_is_not_here_is_not_decoded() -> None:
    class Counting(Matcher):
        decoded = 0

        def decode(self, readout, features):  # type: ignore[no-untyped-def]
            self.decoded += len(readout)
            return super().decode(readout, features)

    network, masks = Counting(), torch.stack((corner(20), corner(0)))
    list(propagate(network, patched(5), {2: masks}, PropagationConfig(top_k=1)))
    assert network.decoded == 4
