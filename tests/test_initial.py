"""What a run starts from: heads follow organs, missing networks are random, encoders take ImageNet's weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import tiny_networks
import torch

from flarekit.checkpoints import Card, Provenance, Registry
from flarekit.config.preprocessing import PREPROCESSING
from flarekit.errors import CheckpointError, UsageError
from flarekit.labels import LabelSet
from flarekit.models import build
from flarekit.training.initial import checkpoint_networks, random_networks, with_encoder_weights

LABELS = LabelSet(name="two", names=("liver", "spleen"), ids=(1, 2))
OTHERS = replace(LABELS, names=("liver", "stomach"))
NETWORKS = {
    "transunet": replace(tiny_networks.TRANSUNET, classes=3),
    "deeplabv3plus": replace(tiny_networks.DEEPLAB, classes=3),
}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "checkpoints", packaged=tmp_path / "packaged")


def publish(registry: Registry, *names: str, kind: str = "reference", provenance: Provenance | None = None) -> None:
    configs = {name: NETWORKS[name] for name in names}
    card = Card(
        kind=kind,
        name="parent",
        networks=configs,
        preprocessing=PREPROCESSING["lite"],
        labels=LABELS,
        provenance=provenance or Provenance(),
    )
    registry.publish(card, {name: build(config) for name, config in configs.items()})


def test_the_same_organs_keep_the_head(registry: Registry) -> None:
    publish(registry, *NETWORKS)
    start = checkpoint_networks("reference", "parent", registry, labels=LABELS, seed=3)
    parent = registry.load("parent").networks

    for name, network in start.networks.items():
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, parent[name].state_dict()[key]), key
    assert start.parents == ("parent@1",) and start.preprocessing == PREPROCESSING["lite"]


def test_as_many_other_organs_start_the_head_anew_and_say_so(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    publish(registry, *NETWORKS)
    start = checkpoint_networks("reference", "parent", registry, labels=OTHERS, seed=3)
    parent = registry.load("parent").networks

    for name, network in start.networks.items():
        assert not torch.equal(network.head.weight, parent[name].head.weight)
        assert torch.equal(next(network.parameters()), next(parent[name].parameters()))
        assert f"{name}: head.bias, head.weight start anew, as the organs differ." in caplog.text


def test_a_network_the_checkpoint_lacks_is_random_and_of_the_size_asked_for(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    publish(registry, "transunet", kind="initialisation")
    start = checkpoint_networks("reference", "parent", registry, labels=LABELS, seed=3, arch="lite")

    assert list(start.networks) == ["transunet", "deeplabv3plus"]
    assert start.configs["deeplabv3plus"].encoder == "mobilenetv3_small_100"
    assert "deeplabv3plus: starts with random weights, as parent@1 has none." in caplog.text


def test_a_pair_starts_from_the_networks_of_two_checkpoints(registry: Registry) -> None:
    seen = Provenance(data=("painted",), licence="CC0", notes="Small.")
    publish(registry, "transunet", provenance=seen)
    given = replace(seen, data=("real",), licence="CC-BY", pretrained_or_extra_data=True)
    publish(registry, "deeplabv3plus", provenance=given)
    start = checkpoint_networks("reference", "parent@1, parent@2", registry, labels=LABELS, seed=3)

    for name, giver in (("transunet", "parent@1"), ("deeplabv3plus", "parent@2")):
        weights = registry.load(giver).networks[name].state_dict()
        assert all(torch.equal(tensor, weights[key]) for key, tensor in start.networks[name].state_dict().items())
    assert start.parents == ("parent@1", "parent@2")
    assert start.provenance == Provenance(
        initialisation="parent@1, parent@2",
        data=("painted", "real"),
        pretrained_or_extra_data=True,
        licence="CC0; CC-BY",
        notes="Small.",
    )


@pytest.mark.parametrize("idle", ["parent@2", "parent@1"])
def test_a_checkpoint_that_gives_nothing_is_no_parent(registry: Registry, idle: str) -> None:
    publish(registry, *NETWORKS)
    publish(registry, "deeplabv3plus", provenance=Provenance(data=("never seen",)))
    with pytest.raises(CheckpointError, match=f"nothing is left for {idle} to give"):
        checkpoint_networks("reference", f"parent@1,{idle}", registry, labels=LABELS, seed=3)


def test_checkpoints_with_different_preprocessing_do_not_make_a_pair(registry: Registry) -> None:
    publish(registry, "transunet")
    other = replace(registry.card("parent"), networks={"deeplabv3plus": NETWORKS["deeplabv3plus"]}, name="other")
    other = replace(other, preprocessing=replace(other.preprocessing, spacing_mm=2.0))
    registry.publish(other, {"deeplabv3plus": build(NETWORKS["deeplabv3plus"])})
    with pytest.raises(CheckpointError, match="other@1 was trained on slices prepared in another way"):
        checkpoint_networks("reference", "parent,other", registry, labels=LABELS, seed=3)


def test_one_network_of_a_pair_can_be_taken_alone(registry: Registry) -> None:
    publish(registry, *NETWORKS)
    start = checkpoint_networks("reference", "parent", registry, labels=LABELS, seed=3, networks=("transunet",))

    assert list(start.networks) == list(start.configs) == ["transunet"]


def test_a_checkpoint_with_none_of_the_networks_is_refused(registry: Registry) -> None:
    publish(registry, "transunet")

    with pytest.raises(CheckpointError, match="parent@1 holds transunet, a propagation run starts from stcn"):
        checkpoint_networks("propagation", "parent", registry, labels=LABELS, seed=3)


def test_a_challenge_refuses_to_start_from_pretrained_weights(registry: Registry) -> None:
    publish(registry, *NETWORKS, provenance=Provenance(initialisation="ImageNet", pretrained_or_extra_data=True))

    with pytest.raises(CheckpointError, match="parent@1 is pretrained.*started from ImageNet"):
        checkpoint_networks("reference", "parent", registry, labels=LABELS, seed=3, challenge=True)


def test_an_encoder_is_filled_from_a_file_of_timms_weights(tmp_path: Path) -> None:
    torch.manual_seed(5)
    published = timm.create_model("mobilenetv3_small_100", pretrained=False).state_dict()
    torch.save(published, tmp_path / "in1k.pth")

    start = with_encoder_weights(random_networks("reference", "lite", classes=3, seed=0), str(tmp_path / "in1k.pth"))

    for key, tensor in start.networks["deeplabv3plus"].encoder.state_dict().items():
        assert torch.equal(tensor, published[key]), key
    assert start.provenance.pretrained_or_extra_data
    assert start.provenance.initialisation == "DeepLabV3+ encoder from timm's mobilenetv3_small_100 (in1k.pth)"


def test_an_encoder_is_filled_by_timms_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = timm.create_model("mobilenetv3_small_100", pretrained=False).state_dict()
    torch.save(published, tmp_path / "weights.pth")
    create = timm.create_model

    def from_disk(name: str, *, pretrained: bool) -> torch.nn.Module:
        overlay = {"file": str(tmp_path / "weights.pth")} if pretrained else None
        return create(name, pretrained=pretrained, pretrained_cfg_overlay=overlay)

    monkeypatch.setattr(timm, "create_model", from_disk)
    start = with_encoder_weights(
        random_networks("reference", "lite", classes=3, seed=0), "mobilenetv3_small_100.lamb_in1k"
    )

    encoder = start.networks["deeplabv3plus"].encoder
    assert torch.equal(encoder.conv_stem.weight, published["conv_stem.weight"])


def test_weights_that_cannot_be_downloaded_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    start = random_networks("reference", "lite", classes=3, seed=0)

    def offline(name: str, *, pretrained: bool) -> torch.nn.Module:
        raise OSError("no route to the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(CheckpointError, match=r"could not be downloaded \(no route.*pass the file"):
        with_encoder_weights(start, "mobilenetv3_small_100")


def test_weights_of_another_encoder_are_refused_by_name_and_by_shape(tmp_path: Path) -> None:
    start = random_networks("reference", "lite", classes=3, seed=0)
    torch.save(timm.create_model("mobilenetv3_small_050", pretrained=False).state_dict(), tmp_path / "other.pth")

    with pytest.raises(UsageError, match="'resnet18.a1_in1k'.*Known: mobilenetv3_small_100.lamb_in1k"):
        with_encoder_weights(start, "resnet18.a1_in1k")
    with pytest.raises(CheckpointError, match="is not mobilenetv3_small_100 as timm stores it"):
        with_encoder_weights(start, str(tmp_path / "other.pth"))


def test_a_run_without_deeplab_takes_no_encoder_weights() -> None:
    start = random_networks("reference", "lite", classes=3, seed=0, networks=("transunet",))

    with pytest.raises(UsageError, match="DeepLabV3"):
        with_encoder_weights(start, "efficientnet_b3")
