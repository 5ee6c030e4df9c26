"""Is an imported network the published one? Both get the same weights and the same slices; outputs are compared.

    git clone https://github.com/Beckschen/TransUNet
    git clone https://github.com/qubvel-org/segmentation_models.pytorch
    git clone https://github.com/hkchengrex/STCN
    pip install ml_collections scipy torchvision
    python examples/compare_published.py . [--write tests/foreign]

The published code is run from those folders and not copied. Weights are made up (tests/foreign_weights.py), are
saved to a file under the published names and imported as `flarekit models import` does. One line a comparison: the
largest difference over the largest value. --write stores names, shapes and some outputs, which the tests look at.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from foreign_propagation import FRAMES, OBJECTS, first_mask, frames, propagate  # noqa: E402
from foreign_weights import made_up_image, made_up_state, samples  # noqa: E402

from flarekit.checkpoints.foreign.formats import FORMATS, ReadOptions  # noqa: E402
from flarekit.checkpoints.foreign.transunet import to_transunet  # noqa: E402

NOT_WRITTEN = ("transunet_224", "vit_full")  # much the same again; the tests do with the small and the largest


def main(root: Path, networks: list[str], write: Path | None) -> None:
    torch.set_grad_enabled(False)
    for name, found in chain.from_iterable(COMPARISONS[name](root) for name in networks):
        if write is not None and name not in NOT_WRITTEN:
            (write / f"{name}.json").write_text(_compact(found) + "\n", encoding="utf-8")


def transunet(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A small network of the published classes at 224, and R50-ViT-B/16 at 224 and 512."""
    with _path(root / "TransUNet"):
        published = importlib.import_module("networks.vit_seg_modeling")
    for name, side, classes, small in (
        ("transunet_small", 224, 5, True),
        ("transunet_224", 224, 9, False),
        ("transunet_512", 512, 14, False),
    ):
        theirs = _transunet(published, side, classes, small=small)
        yield name, _compare(name, theirs, "transunet", ((1, 3, side, side),))


def vit_npz(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Arrays named and shaped as the release's: our reader fills the same tensors as TransUNet's own loader."""
    with _path(root / "TransUNet"):
        published = importlib.import_module("networks.vit_seg_modeling")
    for name, side, small in (("vit_small", 224, True), ("vit_small_resized", 320, True), ("vit_full", 512, False)):
        theirs = _transunet(published, side, 9, small=small)
        shapes = _release_shapes(theirs)
        arrays = {key: tensor.numpy() for key, tensor in made_up_state(shapes).items()}
        theirs.load_from(weights=arrays)
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "weights.npz", **arrays)
            ours = FORMATS["vit-npz"].read(Path(folder) / "weights.npz", ReadOptions(canvas=side))
        expected, found = theirs.state_dict(), to_transunet(_without_position(ours))
        kept = [key for key in expected if key.startswith("transformer.")]
        error = max(_relative(found[key], expected[key]) for key in kept)
        print(f"{name:22s} {len(kept)} tensors as TransUNet's loader fills them, largest error {error:.1e}")
        positions = expected["transformer.embeddings.position_embeddings"]
        tokens = theirs.eval().transformer(made_up_image(1, 3, side, side))[0]
        yield name, {"tensors": shapes, "side": side, "positions": samples(positions), "tokens": samples(tokens)}


def deeplabv3plus(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with _path(root / "segmentation_models.pytorch"):
        smp = importlib.import_module("segmentation_models_pytorch")
    squares = ((1, 3, 512, 512), (1, 3, 320, 384))
    small = ((1, 3, 96, 160),)
    for encoder in ("efficientnet-b0", "efficientnet-b3", "timm-efficientnet-b3"):
        theirs = smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=14)
        name = f"deeplab_{encoder}"
        yield name, _compare(name, theirs, "deeplabv3plus", (*small, *squares) if encoder.endswith("b3") else small)
    for number in (1, 2, 4, 5, 6, 7):
        theirs = smp.DeepLabV3Plus(f"efficientnet-b{number}", encoder_weights=None, classes=14)
        _compare(f"efficientnet-b{number}", theirs, "deeplabv3plus", small)


def stcn(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Single- and multi-object networks: logits, and six frames propagated by the authors' own loop."""
    with _path(root / "STCN"), _no_downloads(), _no_cuda():
        network = importlib.import_module("model.network")
        evaluation = importlib.import_module("model.eval_network")
        inference = importlib.import_module("inference_core")
        single = network.STCN(single_object=True).eval()
        yield "stcn_single", _compare_stcn("stcn_single", single)
        several = evaluation.STCN().eval()
        found = _compare_stcn("stcn_several", several)
        expected = _published_propagation(inference, several)
        ours = _imported(several.state_dict(), "stcn-original")
        error = (propagate(ours, frames(), first_mask()) - expected).abs().max().item()
        print(
            f"{'stcn_several':22s} {FRAMES} frames, {OBJECTS} objects: largest difference of probabilities {error:.1e}"
        )
        yield "stcn_several", found | {"propagation": samples(expected, 48)}


COMPARISONS = {"transunet": transunet, "vit-npz": vit_npz, "deeplabv3plus": deeplabv3plus, "stcn": stcn}


def _compare(name: str, theirs: nn.Module, format: str, shapes: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    tensors = {key: list(tensor.shape) for key, tensor in theirs.state_dict().items()}
    theirs.load_state_dict(made_up_state(tensors))
    ours = _imported(theirs.state_dict(), format)
    outputs = {}
    for shape in shapes:
        image = made_up_image(*shape)
        expected, found = theirs.eval()(image), ours(image, torch.zeros(len(image)))
        print(f"{name:22s} logits at {shape[2]}x{shape[3]}: relative error {_relative(found, expected):.1e}")
        outputs[f"{shape[2]}x{shape[3]}"] = samples(expected)
    return {"tensors": tensors, "logits": outputs}


def _compare_stcn(name: str, theirs: nn.Module) -> dict[str, Any]:
    tensors = {key: list(tensor.shape) for key, tensor in theirs.state_dict().items()}
    theirs.load_state_dict(made_up_state(tensors))
    ours = _imported(theirs.state_dict(), "stcn-original")
    image, mask = made_up_image(1, 3, 96, 128), (made_up_image(1, 1, 96, 128) > 0.7).float()
    others = (made_up_image(1, 1, 96, 128) < 0.2).float()
    f16, f8, f4 = theirs.key_encoder(image)
    key, thin = theirs.key_proj(f16), theirs.key_comp(f16)
    masks = (mask,) if name == "stcn_single" else (mask, others)
    value = theirs.value_encoder(image, f16, *masks)
    logits = theirs.decoder(torch.cat((value, thin), dim=1), f8, f4)
    features = ours.encode_key(image)
    our_value = ours.encode_value(image, features.f16, mask, others)
    our_logits = ours.decode(our_value, features)
    pairs = {"key": (features.key, key), "value": (our_value, value), "logits": (our_logits, logits)}
    errors = ", ".join(f"{part} {_relative(*pair):.1e}" for part, pair in pairs.items())
    print(f"{name:22s} relative errors: {errors}")
    return {"tensors": tensors} | {part: samples(expected) for part, (_, expected) in pairs.items()}


def _published_propagation(inference: ModuleType, network: nn.Module) -> Tensor:
    """(K+1, T, 1, H, W): the authors' InferenceCore, every second frame remembered, top 20; made on the CPU."""
    core = inference.InferenceCore.__new__(inference.InferenceCore)
    images, mask = frames()[None], first_mask()
    height, width = images.shape[-2:]
    core.prop_net, core.images, core.k, core.mem_every, core.include_last = network, images, OBJECTS, 2, False
    core.prob = torch.zeros(OBJECTS + 1, FRAMES, 1, height, width)
    core.mem_bank = inference.MemoryBank(k=OBJECTS, top_k=20)
    core.interact(mask, 0, FRAMES)
    return core.prob


def _imported(state: dict[str, Tensor], format: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / "weights.pth")
        return FORMATS[format].read(Path(folder) / "weights.pth", ReadOptions()).eval()


def _transunet(published: ModuleType, side: int, classes: int, *, small: bool) -> Any:
    config = published.CONFIGS["R50-ViT-B_16"]
    sizes = (128, 256, 2, 2, (1, 2, 1)) if small else (768, 3072, 12, 12, (3, 4, 9))
    config.hidden_size, config.transformer.mlp_dim = sizes[:2]
    config.transformer.num_heads, config.transformer.num_layers, config.resnet.num_layers = sizes[2:]
    config.patches.grid, config.n_classes = (side // 16, side // 16), classes
    return published.VisionTransformer(config, img_size=side, num_classes=classes)


def _release_shapes(network: Any) -> dict[str, list[int]]:
    """Names and shapes of the arrays that TransUNet's loader asks for, embeddings on 14 x 14 and a class token."""
    asked: dict[str, list[int]] = {}
    names = _Asked(asked, network)
    for layer in range(len(network.transformer.encoder.layer)):
        names.layer(layer)
    names.rest()
    return asked


class _Asked:
    """Shapes of the release's arrays from the network that they fill."""

    def __init__(self, asked: dict[str, list[int]], network: Any) -> None:
        self.asked, self.network = asked, network
        self.hidden: int = network.config.hidden_size
        self.heads: int = network.config.transformer.num_heads
        self.mlp: int = network.config.transformer.mlp_dim

    def layer(self, number: int) -> None:
        root = f"Transformer/encoderblock_{number}"
        split = [self.heads, self.hidden // self.heads]
        for part in ("query", "key", "value"):
            self.asked[f"{root}/MultiHeadDotProductAttention_1/{part}/kernel"] = [self.hidden, *split]
            self.asked[f"{root}/MultiHeadDotProductAttention_1/{part}/bias"] = split
        self.asked[f"{root}/MultiHeadDotProductAttention_1/out/kernel"] = [*split, self.hidden]
        self.asked[f"{root}/MultiHeadDotProductAttention_1/out/bias"] = [self.hidden]
        for dense, shape in (("Dense_0", [self.hidden, self.mlp]), ("Dense_1", [self.mlp, self.hidden])):
            self.asked[f"{root}/MlpBlock_3/{dense}/kernel"] = shape
            self.asked[f"{root}/MlpBlock_3/{dense}/bias"] = shape[1:]
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            self.asked |= {f"{root}/{norm}/scale": [self.hidden], f"{root}/{norm}/bias": [self.hidden]}

    def rest(self) -> None:
        self.asked["Transformer/posembed_input/pos_embedding"] = [1, 1 + 14 * 14, self.hidden]
        for leaf in ("scale", "bias"):
            self.asked[f"Transformer/encoder_norm/{leaf}"] = [self.hidden]
        self.asked |= {"cls": [1, 1, self.hidden], "head/kernel": [self.hidden, 7], "head/bias": [7]}
        embeddings = self.network.transformer.embeddings
        self._conv("embedding", embeddings.patch_embeddings)
        self.asked["embedding/bias"] = [self.hidden]
        self._conv("conv_root", embeddings.hybrid_model.root.conv)
        self._norm("gn_root", embeddings.hybrid_model.root.gn)
        for block_name, block in embeddings.hybrid_model.body.named_children():
            for unit_name, unit in block.named_children():
                for layer_name, layer in unit.named_children():
                    name = f"{block_name}/{unit_name}/{layer_name.replace('downsample', 'conv_proj')}"
                    if isinstance(layer, nn.Conv2d):
                        self._conv(name, layer)
                    elif isinstance(layer, nn.GroupNorm):
                        self._norm(name, layer)

    def _conv(self, name: str, conv: nn.Conv2d) -> None:
        self.asked[f"{name}/kernel"] = [*conv.kernel_size, conv.in_channels, conv.out_channels]

    def _norm(self, name: str, norm: nn.GroupNorm) -> None:
        self.asked |= {f"{name}/{leaf}": [1, 1, 1, norm.num_channels] for leaf in ("scale", "bias")}


def _without_position(network: Any) -> Any:
    network.head.weight[:, -1] = 0
    return network


def _relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def _compact(found: dict[str, Any]) -> str:
    return json.dumps(found, separators=(",", ":"), sort_keys=True)


@contextmanager
def _path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.pop(0)


@contextmanager
def _no_downloads() -> Iterator[None]:
    """STCN's modules ask for ImageNet weights as they are built; random ones do."""
    import torchvision.models

    build = torchvision.models.resnet50
    torchvision.models.resnet50 = lambda pretrained: build(weights=None)  # type: ignore[assignment]
    surgery = importlib.import_module("model.mod_resnet")
    surgery.model_zoo.load_url = lambda url: {}
    try:
        yield
    finally:
        torchvision.models.resnet50 = build


@contextmanager
def _no_cuda() -> Iterator[None]:
    """STCN's loop moves tensors to a GPU without asking."""
    moved = Tensor.cuda
    Tensor.cuda = lambda self: self  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Tensor.cuda = moved  # type: ignore[method-assign]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="Folder that holds the three clones.")
    parser.add_argument("--networks", nargs="+", choices=COMPARISONS, default=list(COMPARISONS))
    parser.add_argument("--write", type=Path, help="Store names, shapes and outputs for the tests here.")
    arguments = parser.parse_args()
    main(arguments.root, arguments.networks, arguments.write)
