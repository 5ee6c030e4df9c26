"""Carrying masks to some slices only, looking at each slice once, and what two halves of the drawing disagree on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import tiny_networks
import torch
from propagation_doubles import Matcher, Stack

from flarekit.checkpoints import Card, Loaded
from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.config.propagation import PropagationConfig
from flarekit.config.suggestion import SuggestionConfig
from flarekit.labels import FLARE22
from flarekit.models import STCN
from flarekit.propagation import propagate
from flarekit.propagation.views import Views
from flarekit.suggestion.carried import Carrier
from flarekit.suggestion.gathering import gather, looked_at
from flarekit.volumes import Volume

SHAPE = (12, 24, 28)


def test_only_the_wanted_slices_are_answered_for_and_none_is_looked_at_twice():
    slices = Stack(torch.rand(9, 3, 32, 48, generator=torch.Generator().manual_seed(0)))
    network, config = Matcher(), PropagationConfig()
    masks = {z: torch.zeros(1, 32, 48) for z in (2, 6)}
    masks[2][:, :16, :16] = masks[6][:, 16:, 16:] = 1
    views = Views(network, slices, budget_mb=256)
    everything = {r.z: r.probabilities for r in propagate(network, slices, masks, config)}
    slices.seen.clear()
    some = {r.z: r.probabilities for r in propagate(network, slices, masks, config, only={4, 8}, views=views)}
    again = [r.z for r in propagate(network, slices, masks, config, only={4, 7, 8}, views=views)]
    assert list(some) == [2, 6, 4, 8] and again == [2, 6, 4, 7, 8]
    assert sorted(slices.seen) == [2, 4, 6, 7, 8]
    assert all(torch.equal(some[z], everything[z]) for z in some)
    with pytest.raises(ValueError, match="every slice is answered for"):
        next(propagate(network, slices, masks, PropagationConfig(memory_every=2), only={4}))


@dataclass(frozen=True)
class Case:
    """A CT with a bright block that moves, its true classes, and a carrier with random weights."""

    image: Volume
    truth: np.ndarray
    carrier: Carrier


@pytest.fixture
def case() -> Case:
    torch.manual_seed(0)
    preprocessing = PreprocessingConfig(spacing_mm=4.0, canvas=32)
    card = Card(
        kind="propagation",
        name="tiny",
        networks={"stcn": tiny_networks.STCN},
        preprocessing=preprocessing,
        labels=FLARE22,
    )
    truth = np.zeros(SHAPE, dtype=np.uint8)
    truth[2:10, 4:14, 6:16] = 1
    truth[7:9, 16:20, 18:24] = 2
    hu = np.where(truth > 0, 100, -50).astype(np.int16)
    image = Volume.from_source(hu.transpose(2, 1, 0), np.diag([-4.0, -4.0, 8.0, 1.0]))
    model = Loaded(card=card, networks={"stcn": STCN(tiny_networks.STCN)})
    return Case(image, truth, Carrier(image, model, PropagationConfig(), torch.device("cpu")))


def test_the_halves_disagree_only_on_what_both_were_shown(case: Case):
    annotated = {z: case.truth[z] for z in (1, 4, 8)}  # the second object is on slice 8 alone
    carried = case.carrier.look(annotated, 2, range(0, 12, 3))
    assert carried.slices == (0, 1, 3, 4, 6, 8, 9)
    assert np.isnan(carried.disagreement[1]).all()
    assert carried.area_px[1, carried.slices.index(8)] == 24
    assert np.isfinite(carried.confidence).all()
    both = case.carrier.look({z: case.truth[z] for z in (4, 8)}, 2, range(0, 12, 3))
    assert np.isfinite(both.disagreement[0]).all() and np.isnan(both.disagreement[1]).all()


def test_one_slice_alone_has_no_other_direction(case: Case):
    carried = case.carrier.look({4: case.truth[4]}, 2, range(0, 12, 3))
    assert carried.slices == (0, 3, 4, 6, 9) and np.isnan(carried.disagreement).all()
    assert carried.area_px[0, 2] == 100


def test_evidence_is_as_drawn_on_drawn_slices_and_between_neighbours_elsewhere(case: Case):
    config = SuggestionConfig(look_mm=24.0)
    assert list(looked_at(case.image, config)) == [0, 3, 6, 9]
    reference_mm2 = np.zeros((2, 12))
    evidence = gather(case.image, {z: case.truth[z] for z in (4, 7)}, reference_mm2, case.carrier, config)
    assert [row.nonzero()[0].tolist() for row in evidence.drawn] == [[4, 7], [4, 7]]
    assert evidence.drawn_mm2[:, 7].tolist() == [100 * 16, 24 * 16]
    assert evidence.propagated_mm2[:, [4, 7]].tolist() == [[100 * 16, 100 * 16], [0, 24 * 16]]
    halfway = evidence.propagated_mm2[0, [0, 3]].mean()
    assert evidence.propagated_mm2[0, [1, 2]].mean() == pytest.approx(halfway)


def test_nothing_drawn_is_nothing_carried(case: Case):
    empty = {3: np.zeros(SHAPE[1:], dtype=np.uint8)}
    evidence = gather(case.image, empty, np.ones((2, 12)), case.carrier, SuggestionConfig())
    assert not evidence.propagated_mm2.any() and not evidence.doubt.any()
    assert evidence.drawn.sum(axis=1).tolist() == [1, 1] and not evidence.seen.any()


def test_objects_that_a_slice_is_not_annotated_for_are_looked_for_on_it(case: Case):
    annotated = {z: np.where(case.truth[z] == 2, 0, case.truth[z]).astype(np.uint8) for z in (4, 7)}
    annotated[8] = case.truth[8]
    known = {z: np.array([True, z == 8]) for z in annotated}
    evidence = gather(case.image, annotated, np.zeros((2, 12)), case.carrier, SuggestionConfig(), known=known)
    assert [row.nonzero()[0].tolist() for row in evidence.drawn] == [[4, 7, 8], [8]]
    partly, wholly = (case.carrier.look(annotated, 2, [], known=each) for each in (known, None))
    assert partly.slices == (4, 7, 8)
    assert wholly.confidence[1, 0] == 1 > partly.confidence[1, 0]  # of the second object on slice 4, in its half
