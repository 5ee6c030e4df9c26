"""Sampling and batches: which slices, which labels, and the same ones whoever asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from training_stores import ORGANS, write_store

from flarekit.config.preprocessing import NORMALISATIONS, PreprocessingConfig
from flarekit.config.training import AUGMENTATIONS, CPSConfig, STCNTrainingConfig
from flarekit.data.augmentation import UNCHANGED
from flarekit.data.datasets import ClipBatches, CPSBatches, Share, objects_of, read_clip
from flarekit.data.network_case import NetworkCase
from flarekit.data.sampling import Clips, OrganSlices, UniformSlices, gap_limit_mm
from flarekit.data.store import SliceStore
from flarekit.errors import InputError, TrainingError
from flarekit.labels import IGNORE

GRID = PreprocessingConfig(spacing_mm=1.6, canvas=96, multiple=32)
COUNTS = [
    np.array([[9, 0, 0], [5, 4, 0], [8, 0, 1]]),  # organ 1 on slice 1, organ 2 on slice 2
    np.array([[9, 0, 0], [9, 0, 0]]),  # no organ
]


def cases_of(path: Path, config: PreprocessingConfig = GRID) -> list[NetworkCase]:
    store = SliceStore.open(path)
    return [NetworkCase(store, name, config) for name in store.cases]


@pytest.fixture
def labelled(tmp_path: Path) -> list[NetworkCase]:
    return cases_of(write_store(tmp_path / "labelled"))


@pytest.fixture
def unlabelled(tmp_path: Path) -> list[NetworkCase]:
    return cases_of(write_store(tmp_path / "unlabelled", labelled=None, seed=1))


def generators(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def test_uniform_slices_reach_every_slice_equally_often() -> None:
    slices = UniformSlices([3, 0, 2])
    drawn = [slices.draw(rng) for rng in generators(1000)]
    counts = {choice: drawn.count(choice) for choice in drawn}
    assert {(c.case, c.z) for c in counts} == {(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)}
    assert min(counts.values()) > 150


def test_organ_slices_draw_rare_organs_as_often_as_common_ones() -> None:
    drawn = [OrganSlices(COUNTS, organ_share=1.0).draw(rng) for rng in generators(400)]
    assert {(c.case, c.z) for c in drawn} == {(0, 1), (0, 2)}
    assert 150 < sum(c.z == 1 for c in drawn) < 250


def test_nothing_to_draw_from_is_an_error() -> None:
    with pytest.raises(TrainingError, match="no slice"):
        UniformSlices([])
    with pytest.raises(TrainingError, match="labelled organ"):
        OrganSlices([COUNTS[1]], organ_share=0.5)
    with pytest.raises(TrainingError, match="labelled organ"):
        Clips([COUNTS[1]], [1.0])


def test_clips_start_on_their_organs_and_keep_the_gap() -> None:
    counts = np.zeros((40, 3), dtype=np.int32)
    counts[10:30, 1], counts[15:20, 2] = 7, 3
    clips = Clips([counts, COUNTS[1]], [2.5, 5.0])
    steps = set()
    for rng in generators(300):
        clip = clips.draw(rng, gap_mm=10.0, objects=2)
        assert clip.case == 0 and all(counts[clip.slices[0], organ] for organ in clip.organs)
        first, near, far = clip.slices
        assert 1 <= abs(near - first) <= 4 and 1 <= abs(far - near) <= 4
        assert (near > first) == (far > near)
        steps.add(near - first)
    assert steps == {-4, -3, -2, -1, 1, 2, 3, 4}


def test_some_clips_end_between_the_slices_in_memory() -> None:
    counts = np.ones((30, 2), dtype=np.int32)
    clip = Clips([counts], [5.0]).draw(np.random.default_rng(0), gap_mm=20.0, between_share=1.0)
    first, second, last = clip.slices
    assert min(first, second) < last < max(first, second)


def test_clips_of_a_case_with_two_slices_stay_inside_it() -> None:
    for rng in generators(20):
        assert set(Clips([COUNTS[0][1:]], [5.0]).draw(rng, gap_mm=50.0).slices) <= {0, 1}


def test_gaps_grow_over_the_first_half() -> None:
    assert [gap_limit_mm(p, 5.0, 25.0) for p in (0.0, 0.25, 0.5, 1.0)] == [5.0, 15.0, 25.0, 25.0]


def test_a_case_is_read_on_the_networks_grid(labelled: list[NetworkCase]) -> None:
    case = labelled[0]  # 60 x 70 pixels at 1.6 mm
    images, classes = case.images([2, 5]), case.classes([2, 5])
    assert images.shape == (2, 3, 96, 96) and classes.shape == (2, 96, 96)
    assert (images[:, :, :18] == 0).all() and (images[:, :, 18:78, 13:83] > 0).any()
    assert int((classes[0] == 1).sum()) == case.label_voxels[2, 1]
    assert (case.position(0), case.position(8)) == (0.0, 1.0)


def test_partial_labels_say_what_they_cover_and_leave_nothing_to_ignore(tmp_path: Path) -> None:
    case = cases_of(write_store(tmp_path / "store", labelled=(1,)))[0]
    assert case.looked_for().tolist() == [True, True, False, False]
    assert set(case.classes([3]).unique().tolist()) == {0, 1}


def test_a_mirrored_sample_says_that_the_paired_organ_was_looked_for(tmp_path: Path) -> None:
    cases = cases_of(write_store(tmp_path / "store", labelled=(1,)))
    config = CPSConfig(unlabelled_batch=0, organ_share=1.0)
    batches = CPSBatches(cases, [], ORGANS, config)
    for iteration in range(8):
        batch = batches[iteration]
        for classes, looked_for in zip(batch.classes, batch.looked_for, strict=True):
            (organ,) = set(classes.unique().tolist()) - {0}
            assert looked_for.tolist() == [True, organ == 1, organ == 2, False]


def test_a_batch_has_its_shapes_and_names(labelled: list[NetworkCase], unlabelled: list[NetworkCase]) -> None:
    config = CPSConfig(labelled_batch=2, unlabelled_batch=3, crop=64, augmentation=AUGMENTATIONS["affine"])
    batch = CPSBatches(labelled, unlabelled, ORGANS, config)[0]
    assert batch.images.shape == (2, 3, 64, 64) and batch.classes.shape == (2, 64, 64)
    assert batch.unlabelled.shape == (3, 3, 64, 64) and batch.unlabelled_positions.shape == (3,)
    assert len(batch.names) == 5 and all("slice" in name for name in batch.names)
    assert batch.images.min() >= 0 and batch.images.max() <= 1


def test_slices_with_pseudo_labels_take_the_place_of_unlabelled_ones(
    labelled: list[NetworkCase], unlabelled: list[NetworkCase], tmp_path: Path
) -> None:
    pseudo = cases_of(write_store(tmp_path / "pseudo", seed=2))
    config = CPSConfig(labelled_batch=2, unlabelled_batch=3, pseudo_batch=1)
    plain = CPSBatches(labelled, unlabelled, ORGANS, config)[5]
    assert len(plain.images) == 2 and len(plain.unlabelled) == 3  # there are none
    mixed = CPSBatches(labelled, unlabelled, ORGANS, config, pseudo=pseudo)[5]
    assert mixed.images.shape[0] == mixed.classes.shape[0] == mixed.looked_for.shape[0] == 3
    assert torch.equal(mixed.images[:2], plain.images) and torch.equal(mixed.unlabelled, plain.unlabelled[1:])
    assert mixed.names[2].split()[0] in {case.name for case in pseudo}
    whole = CPSBatches(labelled, unlabelled, ORGANS, replace(config, pseudo_batch=3), pseudo=pseudo)[5]
    assert len(whole.images) == 5 and len(whole.unlabelled) == 0


@pytest.mark.parametrize("count", [0, 4])
def test_pseudo_labelled_slices_are_among_the_unlabelled_ones(count: int) -> None:
    with pytest.raises(ValueError, match="pseudo_batch is 1 to 3"):
        CPSConfig(unlabelled_batch=3, pseudo_batch=count)


def test_a_batch_is_the_same_in_any_number_of_processes(
    labelled: list[NetworkCase], unlabelled: list[NetworkCase]
) -> None:
    batches = CPSBatches(labelled, unlabelled, ORGANS, CPSConfig(augmentation=AUGMENTATIONS["affine"]))
    loader = DataLoader(batches, batch_size=None, sampler=[4, 5, 6], num_workers=2)
    for iteration, loaded in zip((4, 5, 6), loader, strict=True):
        here = batches[iteration]
        assert tuple(loaded.names) == here.names
        assert all(torch.equal(a, b) for a, b in zip(loaded[:-1], here[:-1], strict=True))


def test_processes_and_accumulated_batches_share_the_samples_of_one_larger_batch(
    labelled: list[NetworkCase], unlabelled: list[NetworkCase]
) -> None:
    config = CPSConfig(labelled_batch=2, unlabelled_batch=1)
    wide = CPSBatches(labelled, unlabelled, ORGANS, replace(config, labelled_batch=8, unlabelled_batch=4))[7]
    halves = replace(config, loop=replace(config.loop, accumulate=2))
    ranks = [
        CPSBatches(labelled, unlabelled, ORGANS, halves, share=Share(process=rank, processes=2)) for rank in (0, 1)
    ]
    parts = [rank[index] for index in (14, 15) for rank in ranks]
    assert torch.equal(torch.cat([part.images for part in parts]), wide.images)
    assert torch.equal(torch.cat([part.unlabelled for part in parts]), wide.unlabelled)
    assert len(ranks[0]) == 2 * config.loop.iterations


def test_so_they_do_where_slices_with_pseudo_labels_take_unlabelled_ones_place(
    labelled: list[NetworkCase], unlabelled: list[NetworkCase], tmp_path: Path
) -> None:
    pseudo = cases_of(write_store(tmp_path / "pseudo", seed=2))
    config = CPSConfig(labelled_batch=2, unlabelled_batch=3, pseudo_batch=1)
    larger = replace(config, labelled_batch=8, unlabelled_batch=12, pseudo_batch=4)
    wide = CPSBatches(labelled, unlabelled, ORGANS, larger, pseudo=pseudo)[7]
    halves = replace(config, loop=replace(config.loop, accumulate=2))
    ranks = [
        CPSBatches(labelled, unlabelled, ORGANS, halves, pseudo=pseudo, share=Share(process=rank, processes=2))
        for rank in (0, 1)
    ]
    parts = [rank[index] for index in (14, 15) for rank in ranks]
    known = torch.cat([part.images[:2] for part in parts] + [part.images[2:] for part in parts])
    assert torch.equal(known, wide.images)
    assert torch.equal(torch.cat([part.unlabelled for part in parts]), wide.unlabelled)


def test_every_slice_of_a_batch_can_stand_alone(labelled: list[NetworkCase], unlabelled: list[NetworkCase]) -> None:
    batch = CPSBatches(labelled, unlabelled, ORGANS, CPSConfig(labelled_batch=2, unlabelled_batch=1, crop=32))[0]
    singles = list(batch.singles())
    assert tuple(single.names[0] for single in singles) == batch.names
    assert torch.equal(singles[1].images, batch.images[[1, 1]]) and len(singles[1].unlabelled) == 0
    assert torch.equal(singles[2].unlabelled, batch.unlabelled[[0, 0]]) and len(singles[2].images) == 0


def test_every_clip_of_a_batch_can_stand_alone(labelled: list[NetworkCase]) -> None:
    batch = ClipBatches(labelled, STCNTrainingConfig(clips=3, crop=32))[0]
    second = list(batch.singles())[1]
    assert second.names == batch.names[1:2] and torch.equal(second.classes, batch.classes[[1, 1]])


def test_clips_keep_their_organ_in_the_crop(labelled: list[NetworkCase]) -> None:
    config = STCNTrainingConfig(clips=2, objects_per_clip=2, crop=32, augmentation=AUGMENTATIONS["affine"])
    batches = ClipBatches(labelled, config)
    for iteration in range(6):
        batch = batches[iteration]
        assert batch.images.shape == (2, 3, 3, 32, 32) and batch.classes.shape == (2, 3, 32, 32)
        assert (batch.classes[:, 0] == 1).any(dim=(1, 2)).all() and batch.present[:, 0].all()


def test_a_field_of_view_cuts_images_and_labels_of_a_batch_and_keeps_the_organ_of_a_clip(
    labelled: list[NetworkCase], unlabelled: list[NetworkCase]
) -> None:
    narrow = replace(AUGMENTATIONS["none"], field_of_view=0.3, noise_hu=30.0)
    batches = CPSBatches(labelled, unlabelled, ORGANS, CPSConfig(augmentation=narrow))
    shown = [batches[iteration] for iteration in range(8)]
    air = torch.cat([(each.images == 0).all(1) for each in shown])
    assert air.float().mean() > 0.15 and (torch.cat([each.classes for each in shown])[air] == 0).all()
    assert torch.cat([each.unlabelled == 0 for each in shown]).float().mean() > 0.15
    clips = ClipBatches(labelled, STCNTrainingConfig(clips=2, augmentation=narrow))
    for iteration in range(12):
        batch = clips[iteration]
        dark = (batch.images == 0).all(2)
        assert (batch.classes[dark] == 0).all() and (batch.classes[:, 0] == 1).any(dim=(1, 2)).all()
        assert torch.equal(dark[:, 0].sum((1, 2)) > 1000, dark[:, 1].sum((1, 2)) > 1000)


def test_organs_left_out_are_in_no_clip_and_background_in_all(labelled: list[NetworkCase]) -> None:
    config = STCNTrainingConfig(clips=2, objects_per_clip=2, augmentation=AUGMENTATIONS["none"])
    batches = ClipBatches(labelled, config, left_out=(1,))
    drawn = [batches.clips.draw(rng, gap_mm=20.0, objects=2) for rng in generators(60)]
    assert {organ for clip in drawn for organ in clip.organs} == {2, 3}
    clip = next(clip for clip in drawn if labelled[clip.case].label_voxels[clip.slices[0], 1])
    _, objects = read_clip(labelled[clip.case], clip, UNCHANGED)
    shown = labelled[clip.case].classes(clip.slices)
    assert (shown == 1).any() and (objects[shown == 1] == 0).all()


def test_a_training_that_leaves_every_organ_out_is_refused(labelled: list[NetworkCase]) -> None:
    with pytest.raises(TrainingError, match="labelled organ"):
        ClipBatches(labelled, STCNTrainingConfig(), left_out=(1, 2, 3))


def test_organs_of_a_clip_are_numbered_in_its_order() -> None:
    classes = torch.tensor([0, 1, 2, 3, IGNORE], dtype=torch.uint8)
    assert objects_of(classes, (3, 1)).tolist() == [0, 2, 0, 1, IGNORE]


def test_baked_windows_cannot_be_shifted(labelled: list[NetworkCase]) -> None:
    case = labelled[0]
    stored = case.store.case(case.name)
    stored.header = replace(stored.header, baked=GRID.windows)
    batches = CPSBatches([case], [], ORGANS, CPSConfig(unlabelled_batch=0, augmentation=AUGMENTATIONS["affine"]))
    with pytest.raises(InputError, match="baked ones can no longer be moved.*bake-windows"):
        batches[0]


def test_samples_are_normalised_after_they_are_changed(tmp_path: Path) -> None:
    folder = write_store(tmp_path / "labelled")
    plain, normal = (cases_of(folder, replace(GRID, normalisation=name)) for name in ("none", "imagenet"))
    mean, deviation = (torch.tensor(values)[:, None, None] for values in NORMALISATIONS["imagenet"])

    config = CPSConfig(unlabelled_batch=0, augmentation=AUGMENTATIONS["affine"])
    before, after = (CPSBatches(cases, [], ORGANS, config)[3].images for cases in (plain, normal))
    clips = STCNTrainingConfig(clips=1, augmentation=AUGMENTATIONS["affine"])
    before_clip, after_clip = (ClipBatches(cases, clips)[3].images for cases in (plain, normal))

    torch.testing.assert_close(after, (before - mean) / deviation)
    torch.testing.assert_close(after_clip, (before_clip - mean) / deviation)
