"""Tissues that are painted as they are read: what stays, what changes, and what training makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flarekit.config.phantom import RECIPES
from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.data.store import SliceStore
from flarekit.errors import InputError, OutputError, UsageError
from flarekit.phantom import DatasetPlan, Part, Tissue, write_tissue_store
from flarekit.phantom.repaint import repaint
from flarekit.phantom.repainted_case import RepaintedCase

PLAN = DatasetPlan(
    recipe=RECIPES["randomised"], labelled=Part(count=1), seed=3, spacing_mm=5.0, size=80, slice_mm=20.0
)  # fmt: skip
SPACING = (5.0, 1.6, 1.6)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    """One synthetic case of tissues."""
    folder = tmp_path_factory.mktemp("tissues") / "store"
    write_tissue_store(folder, PLAN)
    return SliceStore.open(folder)


def _blocks() -> torch.Tensor:
    """Tissues (2,3,64,64): a liver beside a spleen in fat, the same in every slice."""
    tissue = np.full((2, 3, 64, 64), Tissue.VISCERAL_FAT, dtype=np.uint8)
    tissue[..., 8:40, 4:30] = Tissue.LIVER
    tissue[..., 8:40, 34:60] = Tissue.SPLEEN
    return torch.from_numpy(tissue)


def _plain(seed: int) -> torch.Tensor:
    recipe = replace(RECIPES["plain"], tissue=replace(RECIPES["plain"].tissue, lesions=0.0))
    return repaint(_blocks(), np.array([0.0, 20.0]), SPACING, recipe, np.random.default_rng(seed))


def test_plain_tissues_get_their_published_hu() -> None:
    for seed in range(5):
        hu = _plain(seed)
        assert 85 < hu[:, 14:34, 10:24].mean() < 130
        assert 100 < hu[:, 14:34, 40:54].mean() < 145
        assert -117 < hu[:, 48:].mean() < -80


def test_the_slices_of_a_sample_share_their_phase_and_samples_do_not() -> None:
    paintings = [
        repaint(_blocks(), np.array([0.0, 40.0]), SPACING, RECIPES["randomised"], np.random.default_rng(seed))
        for seed in range(24)
    ]
    means = np.array([hu[:, 14:34, 10:24].mean(dim=(1, 2)).numpy() for hu in paintings])
    assert np.median(np.abs(means[:, 0] - means[:, 1])) < 12
    assert means.mean(axis=1).std() > 25


def test_a_clip_shares_its_slow_field_and_lesions_but_not_its_noise() -> None:
    recipe = replace(RECIPES["plain"], tissue=replace(RECIPES["plain"].tissue, slow_field_hu=(60.0, 60.0), lesions=0.0))
    first, near, far = repaint(
        _blocks()[:1].expand(3, -1, -1, -1), np.array([0.0, 8.0, 40.0]), SPACING, recipe, np.random.default_rng(2)
    )
    assert not torch.equal(first, near)
    difference = (first - near)[14:34, 10:24]
    assert difference.std() > 4 and abs(difference.mean()) < 4  # noise, and no field of 60 HU
    spotted = replace(RECIPES["plain"], tissue=replace(RECIPES["plain"].tissue, lesions=80.0))
    slices = _blocks()[:1].expand(2, -1, -1, -1)
    one, touching, away = (
        repaint(slices, np.array([0.0, mm]), SPACING, spotted, np.random.default_rng(4))[:, 14:34, 10:24]
        for mm in (0.0, 1.0, 400.0)
    )
    alike = [torch.corrcoef(pair.flatten(1))[0, 1] for pair in (one, touching, away)]
    assert alike[0] > 0.6 and alike[1] > 0.6 > 0.4 > alike[2]


def test_noise_is_as_strong_as_the_recipe_says_whatever_the_pixels() -> None:
    fat = torch.full((4, 3, 160, 160), int(Tissue.AIR), dtype=torch.uint8)
    for mm in (0.8, 1.6, 3.0):
        scanner = replace(RECIPES["plain"].scanner, noise_hu=(10.0, 10.0))
        recipe = replace(RECIPES["plain"], scanner=scanner, tissue=replace(RECIPES["plain"].tissue, texture=(0.0, 0.0)))
        hu = repaint(fat + 35, np.arange(4.0), (5.0, mm, mm), recipe, np.random.default_rng(0))
        middle = hu[:, 60:100, 60:100]
        assert 9 < middle.std() < 15, mm


def test_threads_change_nothing() -> None:
    tissue = torch.from_numpy(np.random.default_rng(0).integers(0, 54, (2, 3, 200, 220), dtype=np.uint8))
    before, painted, seeds = torch.get_num_threads(), [], range(4)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            painted.append(
                [
                    repaint(tissue, np.arange(2.0), SPACING, RECIPES["randomised"], np.random.default_rng(n))
                    for n in seeds
                ]
            )
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*painted, strict=True))


def test_a_thick_slice_shows_its_neighbours() -> None:
    tissue = torch.full((1, 3, 64, 64), int(Tissue.LIVER), dtype=torch.uint8)
    tissue[:, 2] = Tissue.LUNG
    scanner = replace(RECIPES["plain"].scanner, thickness_mm=(5.0, 5.0))
    thin, thick = (
        repaint(
            tissue, np.zeros(1), (mm, 1.6, 1.6), replace(RECIPES["plain"], scanner=scanner), np.random.default_rng(0)
        ).mean()
        for mm in (5.0, 1.0)
    )
    assert thin > 60
    assert thick < thin - 200


def test_nothing_but_padding_and_noise_outside_the_body() -> None:
    air = torch.zeros((1, 3, 64, 64), dtype=torch.uint8)
    hu = repaint(air, np.zeros(1), SPACING, RECIPES["randomised"], np.random.default_rng(1))
    assert hu.max() < -600


def test_the_same_seed_paints_the_same_and_another_does_not(store: SliceStore) -> None:
    case = RepaintedCase(store, store.cases[0], PreprocessingConfig())
    middle = case.depth // 2
    first, again, other = (case.images([middle], seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (1, 3, 512, 512) and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1


def test_ends_of_a_volume_are_painted_too(store: SliceStore) -> None:
    case = RepaintedCase(store, store.cases[0], PreprocessingConfig())
    assert case.images([0, case.depth - 1]).isfinite().all()


def test_a_store_that_is_there_goes_on_and_another_plan_is_refused(store: SliceStore) -> None:
    before = store.case_path("labelled_0001").stat().st_mtime_ns
    records = write_tissue_store(store.path, PLAN)
    assert list(records) == ["labelled_0001"]
    assert store.case_path("labelled_0001").stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="another recipe, seed"):
        write_tissue_store(store.path, replace(PLAN, seed=4))


def test_unlabelled_tissues_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="with their labels"):
        write_tissue_store(tmp_path / "store", replace(PLAN, unlabelled=Part(count=1)))


def test_an_unknown_recipe_is_refused(store: SliceStore) -> None:
    strange = SliceStore(store.path, replace(store.config, tissues="strange"))
    with pytest.raises(InputError, match="recipe 'strange' that is not known"):
        RepaintedCase(strange, strange.cases[0], PreprocessingConfig())


def test_tissues_are_no_hu(store: SliceStore, run_cli, tmp_path: Path) -> None:
    described = run_cli("store", "info", store.path, "--json")
    assert json.loads(described.stdout)["tissues"] == "randomised"
    exported = run_cli("store", "export", store.path, "labelled_0001", "-o", tmp_path / "ct.nii.gz")
    assert exported.code != 0 and "tissues" in exported.stderr and not (tmp_path / "ct.nii.gz").exists()


def test_training_reads_them(store: SliceStore, run_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained = run_cli(
        *("train", "supervised", "--name", "painted", "--labelled", store.path),
        *("--arch", "lite", "--crop", "32", "--iterations", "1", "--network", "deeplabv3plus"),
    )
    assert trained.code == 0, trained.stderr


def test_compression_is_chosen_for_tissues_alone(run_cli, tmp_path: Path) -> None:
    small = ("--labelled", 1, "--spacing", 5, "--size", 80, "--slice-distance", 20, "--compression", "gzip")
    made = run_cli("phantom", tmp_path / "store", "--tissues", *small)
    assert made.code == 0, made.stderr
    assert SliceStore.open(tmp_path / "store").config.compression == "gzip"
    refused = run_cli("phantom", tmp_path / "set", *small)
    assert refused.code == 2 and "--compression is for stores of tissues" in refused.stderr
