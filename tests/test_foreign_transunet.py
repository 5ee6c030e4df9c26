"""TransUNet's own weights give the published logits, and go back; a ViT's fill what its own loader fills."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_weights import fixture, made_up_image, made_up_state, relative_error

from flarekit.checkpoints.foreign.transunet import HEAD, POSITIONS, from_transunet, to_transunet
from flarekit.checkpoints.foreign.vit_npz import QUERY, from_vit_npz
from flarekit.errors import CheckpointError, InputError
from flarekit.models import TransUNet

FILE = Path("weights.pth")
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return made_up_state(fixture("transunet_small")["tensors"])


@pytest.fixture(scope="module")
def network(state: dict[str, torch.Tensor]) -> TransUNet:
    return from_transunet(state, where=FILE).eval().requires_grad_(False)


def logits_error(name: str, side: int) -> float:
    published = fixture(name)
    network = from_transunet(made_up_state(published["tensors"]), where=FILE).eval()
    with torch.inference_mode():
        logits = network(made_up_image(1, 3, side, side), torch.rand(1))
    return relative_error(logits, published["logits"][f"{side}x{side}"])


def test_a_small_one_gives_the_published_logits() -> None:
    assert logits_error("transunet_small", 224) < TOLERANCE


@pytest.mark.slow
def test_r50_vit_b_16_gives_the_published_logits() -> None:
    assert logits_error("transunet_512", 512) < TOLERANCE


def test_the_files_own_sizes_and_classes_are_taken(network: TransUNet) -> None:
    config = network.config

    assert (config.classes, config.grid, config.hidden, config.heads, config.layers) == (5, 14, 128, 2, 2)
    assert config.resnet_units == (1, 2, 1)


def test_the_position_in_the_volume_is_not_looked_at(network: TransUNet) -> None:
    image = made_up_image(1, 3, 64, 96)  # not square: the published network could not

    assert torch.equal(network(image, torch.zeros(1)), network(image, torch.ones(1)))


def test_it_goes_back_as_it_came(network: TransUNet, state: dict[str, torch.Tensor]) -> None:
    back = to_transunet(network)

    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor), name


def test_one_that_learned_the_position_cannot_go_back(state: dict[str, torch.Tensor]) -> None:
    trained = from_transunet(state, where=FILE)
    with torch.no_grad():
        trained.head.weight[0, -1, 1, 1] = 0.5

    with pytest.raises(CheckpointError, match="looks at the slice's position"):
        to_transunet(trained)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({POSITIONS: None}, f"has no {POSITIONS}"),
        ({"decoder.blocks.2.conv2.1.weight": None}, r"1 missing \(decoder.blocks.2.conv2.1.weight\)"),
        ({"decoder.blocks.9.conv2.1.weight": torch.zeros(3)}, r"1 unexpected \(decoder.blocks.9"),
        ({HEAD: torch.zeros(5, 8, 3, 3)}, r"of another shape \(segmentation_head.0.weight \(5, 9, 3, 3\) for"),
        ({POSITIONS: torch.zeros(1, 196, 100)}, "hidden.*got 1, 100|of another shape"),
        ({POSITIONS: torch.zeros(1, 200, 128)}, "200 position embeddings are not of a square"),
        ({POSITIONS: torch.zeros(196, 128), HEAD: torch.zeros(5)}, f"has no {POSITIONS}, {HEAD} of the usual shape"),
    ],
)
def test_what_does_not_fit_is_named(state: dict[str, torch.Tensor], change: dict, message: str) -> None:
    changed = {name: tensor for name, tensor in {**state, **change}.items() if tensor is not None}

    with pytest.raises(CheckpointError, match=message):
        from_transunet(changed, where=FILE)


def write_npz(path: Path, name: str) -> dict[str, np.ndarray]:
    arrays = {key: tensor.numpy() for key, tensor in made_up_state(fixture(name)["tensors"]).items()}
    np.savez(path, **arrays)
    return arrays


@pytest.mark.parametrize("name", ["vit_small", "vit_small_resized"])
def test_a_vit_fills_what_transunets_loader_fills(name: str, tmp_path: Path) -> None:
    published, side = fixture(name), fixture(name)["side"]
    write_npz(tmp_path / "vit.npz", name)

    network = from_vit_npz(tmp_path / "vit.npz", grid=side // 16).eval()

    positions = network.transformer.positions.flatten(2).transpose(1, 2)
    assert relative_error(positions, published["positions"]) < TOLERANCE
    with torch.inference_mode():
        tokens, _ = network.transformer(made_up_image(1, 3, side, side))
    assert relative_error(tokens.flatten(2).transpose(1, 2), published["tokens"]) < TOLERANCE


def test_what_a_vit_lacks_is_random_but_the_same_for_a_seed(tmp_path: Path) -> None:
    write_npz(tmp_path / "vit.npz", "vit_small")
    first, same, other = (from_vit_npz(tmp_path / "vit.npz", grid=14, seed=seed) for seed in (1, 1, 2))

    assert torch.equal(first.head.weight, same.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert torch.equal(first.transformer.positions, other.transformer.positions)


def test_other_npz_files_are_refused(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "vit.npz", "vit_small")
    np.savez(tmp_path / "plain.npz", **{k: v for k, v in arrays.items() if not k.startswith("conv_root")})
    np.savez(tmp_path / "more.npz", **arrays, adapter=np.zeros(3))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "vit.npz").read_bytes()[:50_000])
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    dense = "Transformer/encoderblock_1/MlpBlock_3/Dense_0/kernel"
    np.savez(tmp_path / "turned.npz", **{**arrays, dense: arrays[dense].T})
    np.savez(tmp_path / "tokens.npz", **{**arrays, "Transformer/posembed_input/pos_embedding": np.zeros((1, 60, 128))})
    np.savez(tmp_path / "flat.npz", **{**arrays, QUERY: np.zeros(7)})
    np.savez(tmp_path / "code.npz", **{**arrays, "conv_root/kernel": np.array([{"a": 1}], dtype=object)})

    for name, message in {
        "plain.npz": "has no conv_root/kernel.*TransUNet starts from imagenet21k",
        "more.npz": "unexpected or of another shape: adapter",
        "turned.npz": f"another shape: {dense}",
        "tokens.npz": "are not of a square",
        "flat.npz": "not enough values",
        "one.npz": "of another kind",
        "cut.npz": "cut short or of another kind",
        "code.npz": "cut short or of another kind",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            from_vit_npz(tmp_path / name, grid=14)
    with pytest.raises(InputError, match="cannot be read"):
        from_vit_npz(tmp_path / "none.npz", grid=14)
