"""The registry: what goes in comes out, versions never change, damage is noticed."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch

from flarekit.checkpoints import Card, Provenance, Registry, load_state, save_state
from flarekit.checkpoints.registry import CARD, WEIGHTS
from flarekit.checkpoints.transfer import export_checkpoint, import_checkpoint
from flarekit.config.architecture import STCNConfig
from flarekit.config.preprocessing import PREPROCESSING
from flarekit.errors import CheckpointError, InputError, OutputError, UsageError
from flarekit.labels import FLARE22
from flarekit.models import build

TINY = STCNConfig(
    key_block="basic",
    key_units=(1, 1, 1),
    key_width=4,
    value_units=(1, 1, 1),
    value_width=4,
    key_channels=4,
    value_channels=8,
    decoder=(8, 8, 8),
)


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "checkpoints", packaged=tmp_path / "packaged")


def card(name="mine"):
    return Card(
        kind="propagation",
        name=name,
        networks={"stcn": TINY},
        preprocessing=PREPROCESSING["lite"],
        labels=FLARE22,
        training={"lr": 1e-4},
        metrics={"dice": 0.5},
        provenance=Provenance(data=("painted",), licence="CC0"),
        parents=("other@1",),
    )


def publish(registry, name="mine", **options):
    network = build(TINY)
    return registry.publish(card(name), {"stcn": network}, **options), network


def test_a_published_checkpoint_loads_with_the_same_weights_and_card(registry):
    published, network = publish(registry)
    loaded = registry.load("mine", kind="propagation")
    assert loaded.card == published
    assert not loaded.networks["stcn"].training
    for ours, theirs in zip(network.state_dict().values(), loaded.networks["stcn"].state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_half_precision_is_stored_small_and_loaded_as_float32(registry):
    full, _ = publish(registry)
    half, network = publish(registry, half=True)
    sizes = [(registry.folder(c.reference) / WEIGHTS).stat().st_size for c in (full, half)]
    assert sizes[1] < 0.6 * sizes[0]
    parameters = registry.load(half.reference).networks["stcn"].parameters()
    for ours, theirs in zip(network.parameters(), parameters, strict=True):
        assert theirs.dtype == torch.float32
        assert torch.equal(ours.half().float(), theirs)


def test_versions_count_up_and_the_highest_is_the_default(registry):
    assert [publish(registry)[0].version for _ in range(11)] == list(range(1, 12))
    assert registry.card("mine").version == 11
    assert registry.card("mine@2").version == 2


def test_packaged_versions_are_found_and_counted_on_from(registry, tmp_path):
    packaged = Registry(tmp_path / "packaged", packaged=tmp_path / "none")
    publish(packaged)
    assert registry.card("mine").version == 1
    assert publish(registry)[0].version == 2
    with pytest.raises(UsageError, match="comes with flarekit"):
        registry.remove("mine@1")


def test_removing_takes_one_version_and_wants_it_named(registry):
    publish(registry), publish(registry)
    with pytest.raises(UsageError, match="names no version"):
        registry.remove("mine")
    registry.remove("mine@2")
    assert [c.reference for c in registry.cards()] == ["mine@1"]


@pytest.mark.parametrize("reference", ["../mine", "mine/1", "", ".hidden", "mine@x"])
def test_names_that_are_no_names_are_refused(registry, reference):
    with pytest.raises(UsageError):
        registry.folder(reference)


def test_an_unknown_checkpoint_is_named_with_those_that_exist(registry):
    publish(registry)
    with pytest.raises(CheckpointError, match=r"unknown checkpoint 'other'.*Known: mine"):
        registry.load("other")


def test_a_checkpoint_of_the_wrong_kind_is_refused(registry):
    publish(registry)
    with pytest.raises(CheckpointError, match="a propagation checkpoint, a reference one is needed"):
        registry.load("mine", kind="reference")


def test_a_flipped_byte_is_noticed(registry):
    publish(registry)
    weights = registry.folder("mine") / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors.*SHA-256"):
        registry.load("mine")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "kind": "x"}'])
def test_a_damaged_card_is_one_clear_error(registry, text):
    publish(registry)
    (registry.folder("mine") / CARD).write_text(text)
    with pytest.raises(CheckpointError, match=r"card\.json"):
        registry.load("mine")


def test_a_card_of_a_newer_format_asks_for_an_update(registry):
    publish(registry)
    path = registry.folder("mine") / CARD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(CheckpointError, match="has format 99"):
        registry.card("mine")


def test_a_full_registry_leaves_nothing_half_published(registry, tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="checkpoints"):
        publish(registry)
    assert (tmp_path / "checkpoints").read_text().startswith("a file")


def test_export_and_import_carry_a_checkpoint_over(registry, tmp_path):
    published, _ = publish(registry)
    export_checkpoint(registry, "mine", tmp_path / "mine.zip")
    other = Registry(tmp_path / "other", packaged=tmp_path / "none")
    assert import_checkpoint(other, tmp_path / "mine.zip") == published
    assert other.load("mine@1").card == published
    with pytest.raises(OutputError, match="in the registry already"):
        import_checkpoint(other, tmp_path / "mine.zip")


def test_export_never_overwrites_silently(registry, tmp_path):
    publish(registry)
    (tmp_path / "mine.zip").write_text("precious")
    with pytest.raises(OutputError, match="--overwrite"):
        export_checkpoint(registry, "mine", tmp_path / "mine.zip")
    assert (tmp_path / "mine.zip").read_text() == "precious"


def test_what_is_no_exported_checkpoint_is_refused_and_leaves_nothing(registry, tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "hello")
    for name in ("text.zip", "other.zip", "missing.zip"):
        with pytest.raises(InputError, match=name):
            import_checkpoint(registry, tmp_path / name)
    assert registry.cards() == [] and list(registry.root.iterdir()) == []


def test_a_training_state_survives_and_damage_is_one_error(tmp_path):
    state = {"iteration": 3, "tensor": torch.arange(4), "nested": {"lr": [0.1]}}
    save_state(tmp_path / "state.pt", state)
    save_state(tmp_path / "state.pt", state | {"iteration": 4})
    loaded = load_state(tmp_path / "state.pt")
    assert loaded["iteration"] == 4 and torch.equal(loaded["tensor"], torch.arange(4))
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        load_state(tmp_path / "state.pt")


def test_models_commands_list_show_and_remove(run_cli):
    publish(Registry.default())
    listed = json.loads(run_cli("models", "list", "--json").stdout)["checkpoints"]
    assert "mine" in [c["name"] for c in listed]
    shown = json.loads(run_cli("models", "show", "mine", "--json").stdout)
    assert shown["labels"]["names"][0] == "liver" and shown["costs"]["stcn"]["parameters"] > 0
    assert "stcn: key encoder" in run_cli("models", "show", "mine").stdout
    assert run_cli("models", "rm", "mine@1").code == 0
    assert run_cli("models", "show", "mine").code == CheckpointError.exit_code


def test_models_show_counts_the_paper_s_networks(run_cli):
    costs = json.loads(run_cli("models", "show", "--arch", "paper", "--json").stdout)["costs"]
    assert costs["transunet"]["parameters"] + costs["deeplabv3plus"]["parameters"] == 117_597_362
    assert costs["stcn"]["parameters"] == 54_416_065
    assert costs["stcn"]["slice_px"] == 512
