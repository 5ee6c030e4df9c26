"""Networks exported to ONNX and run by ONNX Runtime: the same answers, from a cache that mends itself."""

from __future__ import annotations

import importlib.util
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_networks
import torch
from segmentation_doubles import ORGANS, PREPROCESSING, Reader, loaded
from torch import nn

from flarekit.checkpoints import Card, Registry, onnx_cache
from flarekit.checkpoints.onnx_cache import OnnxCache
from flarekit.cli.options import device_for
from flarekit.config.architecture import ARCHITECTURES
from flarekit.data.slices import VolumeSlices
from flarekit.errors import MissingDependency, OutputError, UsageError
from flarekit.models import build
from flarekit.pipeline import models
from flarekit.reference import ReferenceModule
from flarekit.reference.onnx import OnnxNetwork
from flarekit.volumes import Volume, read_labels, read_volume, write_volume

SIZE = (64, 96)  # of the networks' input, and 4 x 6 tokens: TransUNet's positions for 4 x 4 are interpolated
SHAPE = (5, 60, 72)  # z, h, w of a CT that fits into that
CONFIGS = {
    "transunet": replace(tiny_networks.TRANSUNET, classes=ORGANS.classes),
    "deeplabv3plus": replace(tiny_networks.DEEPLAB, classes=ORGANS.classes),
}


def network(config, seed: int = 0):
    """In evaluation mode, its normalisation no longer the identity that it starts as."""
    torch.manual_seed(seed)
    built = build(config)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return built.eval()


def relative_error(original, exported: OnnxNetwork, size: tuple[int, int], slices: int) -> float:
    image, position = torch.rand(slices, 3, *size), torch.rand(slices)
    with torch.inference_mode():
        expected, got = original(image, position), exported(image, position)
    assert got.shape == expected.shape and got.dtype == torch.float32
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> OnnxCache:
    """One for all tests that run networks: an export takes seconds."""
    return OnnxCache(tmp_path_factory.mktemp("onnx"))


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """Noise, as a file."""
    hu = np.random.default_rng(0).normal(40, 120, SHAPE).astype(np.int16)
    write_volume(tmp_path / "ct.nii.gz", Volume.from_source(hu.transpose(2, 1, 0), np.diag([-2.0, -2.0, 5.0, 1.0])))
    return tmp_path / "ct.nii.gz"


@pytest.fixture
def published(cache: OnnxCache, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two checkpoints of the same pair of networks, whose exports lie in the cache."""
    monkeypatch.setattr(OnnxCache, "default", lambda: cache)
    names = ["first", "second"]
    for name in names:
        card = Card(kind="reference", name=name, networks=CONFIGS, preprocessing=PREPROCESSING, labels=ORGANS)
        Registry.default().publish(card, {key: network(config) for key, config in CONFIGS.items()})
    return names


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_equal_those_of_torch_for_any_number_of_slices(name, cache):
    original = network(CONFIGS[name])
    exported = OnnxNetwork(original, cache)
    assert relative_error(original, exported, SIZE, 1) < 1e-5
    assert relative_error(original, exported, SIZE, 3) < 1e-5


def test_segment_gives_the_same_mask_with_both_backends(published, ct, tmp_path, run_cli):
    masks = []
    for backend in ("torch", "onnx"):
        out = tmp_path / f"{backend}.nii.gz"
        options = ("--model", published[0], "--no-propagation", "--backend", backend, "--device", "cpu", "--json")
        outcome = run_cli("segment", ct, "-o", out, *options)
        assert outcome.code == 0, outcome.stderr
        assert json.loads(outcome.stdout)["backend"] == backend
        assert json.loads((tmp_path / f"{backend}.json").read_text())["backend"] == backend
        masks.append(read_labels(out).array)
    assert len(np.unique(masks[0])) > 1
    assert (masks[0] == masks[1]).mean() >= 0.999


def test_pseudolabel_takes_the_backend_too(published, ct, tmp_path, run_cli, monkeypatch):
    called = []
    monkeypatch.setattr(
        OnnxNetwork, "prepare", lambda self, size, do=OnnxNetwork.prepare: called.append(do(self, size))
    )
    out = tmp_path / "out"
    outcome = run_cli("pseudolabel", ct, "--models", ",".join(published), "-o", out, "--backend", "onnx", "--json")
    assert outcome.code == 0, outcome.stderr
    (case,) = json.loads(outcome.stdout)["cases"]
    assert (case["status"], case["score"]) == ("kept", 1.0)
    assert called


def test_a_size_that_cannot_be_exported_does_not_spoil_the_next(cache, monkeypatch):
    original = network(CONFIGS["deeplabv3plus"])
    exported = OnnxNetwork(original, cache)
    exported.prepare(SIZE)
    monkeypatch.setattr(onnx_cache, "export", cut_off)
    with pytest.raises(KeyboardInterrupt):
        exported.prepare((32, 64))
    assert relative_error(original, exported, SIZE, 2) < 1e-5


def cut_off(network: nn.Module, size: tuple[int, int]) -> bytes:
    raise KeyboardInterrupt


class Exports:
    """Stands in for the export, and counts."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, network: nn.Module, size: tuple[int, int]) -> bytes:
        self.sizes.append(size)
        return b"a model of %d x %d" % size


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> Exports:
    monkeypatch.setattr(onnx_cache, "export", exports := Exports())
    return exports


def test_a_network_is_exported_once_for_every_size(exports, tmp_path):
    deeplab = network(CONFIGS["deeplabv3plus"])
    first = OnnxCache(tmp_path / "onnx").file(deeplab, (64, 96))
    again = OnnxCache(tmp_path / "onnx").file(network(CONFIGS["deeplabv3plus"]), (64, 96))
    other = OnnxCache(tmp_path / "onnx").file(deeplab, (96, 64))
    assert first == again != other
    assert exports.sizes == [(64, 96), (96, 64)]
    assert first.read_bytes() == b"a model of 64 x 96"


def test_other_weights_or_settings_are_exported_anew(exports, tmp_path, monkeypatch):
    cache, config = OnnxCache(tmp_path), CONFIGS["transunet"]
    trained_on = network(config)
    trained_on.head.bias.data[1] += 1e-3
    networks = [network(config), trained_on, network(replace(config, heads=4))]
    assert len({cache.file(each, SIZE) for each in networks}) == 3
    monkeypatch.setattr(onnx_cache, "__version__", "another")
    cache.file(networks[0], SIZE)
    assert len(exports.sizes) == 4


def test_a_damaged_export_is_made_anew(exports, tmp_path, caplog):
    cache, deeplab = OnnxCache(tmp_path), network(CONFIGS["deeplabv3plus"])
    file = cache.file(deeplab, SIZE)
    file.write_bytes(file.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert cache.file(deeplab, SIZE).read_bytes() == b"a model of 64 x 96"
    assert "damaged" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_full_disk_leaves_no_half_of_an_export(tmp_path, full_disk, monkeypatch):
    monkeypatch.setattr(onnx_cache, "export", lambda network, size: bytes(5000))
    with full_disk(1000), pytest.raises(OutputError, match="no space left"):
        OnnxCache(tmp_path).file(network(CONFIGS["deeplabv3plus"]), SIZE)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named_before_the_export(exports, tmp_path):
    (tmp_path / "home").write_text("a file, no folder")
    with pytest.raises(OutputError, match="home"):
        OnnxCache(tmp_path / "home" / "onnx").file(network(CONFIGS["deeplabv3plus"]), SIZE)
    assert exports.sizes == []


def test_without_the_extra_the_command_says_what_is_missing(published, ct, run_cli, monkeypatch):
    models._loaded.cache_clear()  # networks that an earlier test loaded are not looked for again
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    outcome = run_cli("segment", ct, "--model", published[0], "--no-propagation", "--backend", "onnx")
    assert outcome.code == MissingDependency.exit_code
    assert "needs onnxruntime" in outcome.stderr and "flarekit[onnx]" in outcome.stderr


def test_a_gpu_is_refused_and_auto_means_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for("onnx", "auto") == torch.device("cpu")
    assert device_for("torch", "auto") == torch.device("cuda")
    with pytest.raises(UsageError, match="onnx runs on the CPU, not on cuda:1"):
        ReferenceModule(loaded(Reader()), device="cuda:1", backend="onnx")


def test_an_unknown_backend_is_refused():
    with pytest.raises(UsageError, match="unknown backend 'tensorrt'"):
        ReferenceModule(loaded(Reader()), backend="tensorrt")


@pytest.mark.slow
def test_the_starter_networks_label_a_real_ct_alike(shared_data, cache):
    volume = read_volume(shared_data / "totalsegmentator" / "example_ct.nii.gz")
    answers = []
    for backend in ("torch", "onnx"):
        module = ReferenceModule(Registry.default().load("starter-reference"), backend=backend)
        slices = VolumeSlices(volume, module.preprocessing)
        answers.append([p for _, p in module.probabilities(slices, range(0, len(slices), 25))])
    expected, got = (torch.stack(answer) for answer in answers)
    assert (expected.argmax(1) == got.argmax(1)).float().mean() >= 0.999
    assert (expected - got).abs().max() < 1e-3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_networks_of_the_papers_size_give_the_same_logits(cache):
    original = network(ARCHITECTURES["paper"].deeplabv3plus)
    assert relative_error(original, OnnxNetwork(original, cache), (256, 384), 1) < 1e-4
