"""That the losses teach: tiny networks learn a batch by heart, and validation counts what they found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_setup import FAST, Workplace, workplace
from training_stores import ORGANS

from flarekit.config.preprocessing import PREPROCESSING
from flarekit.config.run import Stores
from flarekit.config.training import AUGMENTATIONS, CPSConfig, LoopConfig, STCNTrainingConfig
from flarekit.data.datasets import ClipBatches, CPSBatches
from flarekit.models.stcn import STCN
from flarekit.training.cps import CPSObjective
from flarekit.training.data import TrainingData, gather
from flarekit.training.initial import random_networks
from flarekit.training.optimiser import make_optimiser
from flarekit.training.stcn import STCNObjective, segment_clips
from flarekit.training.validation import _count, score_propagation, score_reference, validation_clips

__all__ = ["workplace"]


@pytest.fixture
def data(workplace: Workplace) -> TrainingData:
    stores = Stores(
        labelled=(workplace.folder / "labelled",),
        unlabelled=(workplace.folder / "unlabelled",),
        validation=workplace.folder / "validation",
    )
    return gather(stores, PREPROCESSING["tiny"], seed=0)


class ByHU(nn.Module):
    """Knows every class of the test stores by its HU in the abdomen channel, and `swap` exchanges the blobs."""

    def __init__(self, *, swap: bool = False) -> None:
        super().__init__()
        self.means_hu = nn.Parameter(torch.tensor([-60.0, 60.0, 110.0, 200.0]))
        self.order = [0, 2, 1, 3] if swap else [0, 1, 2, 3]

    def forward(self, image: Tensor, position: Tensor) -> Tensor:
        hu = image[:, :1] * 400 - 150
        return -(hu - self.means_hu[:, None, None]).abs()[:, self.order]


def fit(objective: nn.Module, batch: object, iterations: int) -> list[float]:
    optimiser, losses = make_optimiser(objective, FAST), []
    for iteration in range(iterations):
        loss, _ = objective(batch, iteration)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_both_networks_of_the_pair_learn_a_batch(data: TrainingData) -> None:
    config = CPSConfig(augmentation=AUGMENTATIONS["none"], unlabelled_batch=1, crop=32, organ_share=1.0)
    batch = CPSBatches(data.labelled, data.unlabelled, ORGANS, config)[0]
    networks = random_networks("reference", "tiny", classes=ORGANS.classes, seed=0).networks
    objective = CPSObjective(networks, config)
    _, before = objective(batch, 0)
    fit(objective, batch, 40)
    _, after = objective(batch, 0)
    for name in networks:
        assert after[f"supervised_{name}"].mean() < 0.6 * before[f"supervised_{name}"].mean()


def test_networks_come_to_agree_on_unlabelled_slices(data: TrainingData) -> None:
    config = CPSConfig(
        augmentation=AUGMENTATIONS["none"],
        labelled_batch=1,
        unlabelled_batch=2,
        consistency=5.0,
        rampup=0,
        crop=32,
    )
    batch = CPSBatches(data.labelled, data.unlabelled, ORGANS, config)[0]
    networks = random_networks("reference", "tiny", classes=ORGANS.classes, seed=0).networks
    objective = CPSObjective(networks, config)
    _, before = objective(batch, 0)
    fit(objective, batch, 20)
    _, after = objective(batch, 0)
    for name in networks:
        assert after[f"consistency_{name}"].mean() < before[f"consistency_{name}"].mean()


def test_a_pair_that_is_sure_of_nothing_learns_from_labels_alone(data: TrainingData) -> None:
    config = CPSConfig(augmentation=AUGMENTATIONS["none"], labelled_batch=1, consistency=5.0, rampup=0, crop=32)
    batch = CPSBatches(data.labelled, data.unlabelled, ORGANS, config)[0]
    networks = random_networks("reference", "tiny", classes=ORGANS.classes, seed=0).networks
    for network in networks.values():
        network.eval()
    for confidence in (0.0, 1.0):
        loss, parts = CPSObjective(networks, replace(config, confidence=confidence))(batch, 0)
        supervised = sum(part.mean() for name, part in parts.items() if name.startswith("supervised"))
        assert bool(torch.isclose(loss, torch.as_tensor(supervised))) == (confidence == 1.0)


def test_the_propagation_network_learns_a_clip(data: TrainingData) -> None:
    config = STCNTrainingConfig(augmentation=AUGMENTATIONS["none"], clips=1, crop=64, loop=LoopConfig(iterations=60))
    batch = ClipBatches(data.labelled, config)[0]
    torch.manual_seed(0)
    network = random_networks("propagation", "tiny", classes=ORGANS.classes, seed=0).networks["stcn"]
    losses = fit(STCNObjective(network, config), batch, 60)
    assert losses[-1] < 0.35 * losses[0]


def test_clips_give_probabilities_and_none_for_an_object_that_is_not_there(data: TrainingData) -> None:
    config = STCNTrainingConfig(augmentation=AUGMENTATIONS["none"], clips=2, objects_per_clip=2, crop=64)
    batch = ClipBatches(data.labelled, config)[0]
    batch = batch._replace(present=torch.tensor([[True, True], [True, False]]))
    network = random_networks("propagation", "tiny", classes=ORGANS.classes, seed=0).networks["stcn"]
    assert isinstance(network, STCN)
    with torch.no_grad():
        probabilities = segment_clips(network.eval(), batch)
    assert probabilities.shape == (2, 2, 3, 64, 64)
    assert torch.allclose(probabilities.sum(2), torch.ones(2, 2, 64, 64))
    assert probabilities[1, :, 2].max() < 1e-5 < probabilities[0, :, 2].min()


def test_voxels_are_counted_without_the_ignored_ones() -> None:
    found, truth = torch.tensor([[0, 1, 1, 2]]), torch.tensor([[0, 1, 2, 255]], dtype=torch.uint8)
    assert _count(found, truth, 3).tolist() == [[1, 1, 0], [1, 2, 0], [1, 1, 1]]


def test_validation_scores_the_pair_and_each_network(data: TrainingData) -> None:
    good = score_reference({"a": ByHU(), "b": ByHU()}, data.validation, ORGANS, stride=2)
    assert good.dice > 0.9 and set(good.organs) == set(ORGANS.names)
    mixed = score_reference({"a": ByHU(), "b": ByHU(swap=True)}, data.validation, ORGANS, stride=2)
    assert mixed.networks["a"] == pytest.approx(good.dice) and mixed.networks["b"] < 0.5


def test_organs_that_a_case_has_no_labels_of_are_not_scored(data: TrainingData) -> None:
    (case,) = data.validation
    case.organs = (3,)
    assert set(score_reference({"a": ByHU()}, [case], ORGANS, stride=2).organs) == {"bar"}


def test_every_organ_of_a_case_is_carried_from_its_largest_slice(data: TrainingData) -> None:
    (case,) = data.validation
    clips = list(validation_clips(case))
    assert [clip.organs for clip in clips] == [(1,), (2,), (3,)]
    for clip in clips:
        assert case.label_voxels[clip.slices[0], clip.organs[0]] == case.label_voxels[:, clip.organs[0]].max()
        assert all(0 <= z < case.depth for z in clip.slices)


def test_organs_left_out_of_training_are_not_validated_on(data: TrainingData) -> None:
    (case,) = data.validation
    assert [clip.organs for clip in validation_clips(case, left_out=(1, 3))] == [(2,)]
    network = random_networks("propagation", "tiny", classes=ORGANS.classes, seed=0).networks["stcn"]
    assert isinstance(network, STCN)
    assert set(score_propagation(network, data.validation, ORGANS, left_out=(2,)).organs) == {"left_blob", "bar"}


def test_propagation_is_scored_on_organs_that_are_there(data: TrainingData) -> None:
    network = random_networks("propagation", "tiny", classes=ORGANS.classes, seed=0).networks["stcn"]
    assert isinstance(network, STCN)
    score = score_propagation(network, data.validation, ORGANS)
    assert score.organs and set(score.organs) <= set(ORGANS.names)
    assert score.dice == pytest.approx(np.mean(list(score.organs.values())))
