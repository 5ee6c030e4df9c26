"""The registry: what goes in comes out, versions never change, damage is noticed."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace

import pytest
import tiny_networks
import torch

from flarekit.checkpoints import Card, Provenance, Registry, load_state, save_state
from flarekit.checkpoints import registry as registry_module
from flarekit.checkpoints.lineage import lineage
from flarekit.checkpoints.registry import CARD, WEIGHTS, Listing
from flarekit.checkpoints.transfer import export_checkpoint, import_checkpoint
from flarekit.checkpoints.weights import read_weights, write_weights
from flarekit.config.preprocessing import PREPROCESSING
from flarekit.errors import CheckpointError, InputError, OutputError, UsageError
from flarekit.labels import FLARE22
from flarekit.models import build


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "checkpoints", packaged=tmp_path / "packaged")


def card(name="mine"):
    return Card(
        kind="propagation",
        name=name,
        networks={"stcn": tiny_networks.STCN},
        preprocessing=PREPROCESSING["lite"],
        labels=FLARE22,
        training={"lr": 1e-4},
        metrics={"dice": 0.5},
        provenance=Provenance(data=("painted",), licence="CC0"),
        parents=("other@1",),
    )


def publish(registry, name="mine", **options):
    network = build(tiny_networks.STCN)
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
    assert [c.reference for c in registry.listing().cards] == ["mine@1"]


def test_a_removed_version_is_never_given_out_again_but_may_be_imported(registry, tmp_path):
    publish(registry)
    export_checkpoint(registry, "mine", tmp_path / "mine.zip")
    for _ in range(2):
        registry.remove("mine@1")
        assert import_checkpoint(registry, tmp_path / "mine.zip").version == 1
    registry.remove("mine@1")
    assert publish(registry)[0].version == 2


@pytest.mark.parametrize("place", ["copy/1", "mine/7"])
def test_a_checkpoint_copied_to_another_name_or_version_is_noticed(registry, tmp_path, place):
    publish(registry)
    shutil.copytree(registry.root / "mine" / "1", registry.root / place)
    copied = place.replace("/", "@")
    for use in (registry.card, registry.load, lambda name: export_checkpoint(registry, name, tmp_path / "a.zip")):
        with pytest.raises(CheckpointError, match=r"card\.json: is the card of mine@1"):
            use(copied)
    assert list(registry.listing().damaged) == [copied]


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
    assert registry.listing() == Listing() and list(registry.root.iterdir()) == []


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


def test_a_lineage_follows_parents_to_those_that_are_gone(run_cli):
    registry, network = Registry.default(), build(tiny_networks.STCN)
    trained = {"command": "stcn", "training": {"loop": {"iterations": 70}}}
    for name, parents in {"a": (), "b": ("a@1", "gone@3"), "c": ("b@1", "a@1")}.items():
        registry.publish(
            replace(card(name), parents=parents, training=trained if name == "b" else {}), {"stcn": network}
        )
    found = [(each.reference, each.generation, each.card is not None) for each in lineage(registry, "c")]
    assert found == [("c@1", 0, True), ("b@1", 1, True), ("a@1", 1, True), ("gone@3", 2, False)]
    shown = json.loads(run_cli("models", "show", "b", "--json").stdout)["lineage"]
    assert [entry["made"] for entry in shown] == ["train stcn, 70 iterations", "import", None]
    table = run_cli("models", "show", "b").stdout
    assert "Lineage" in table and "not in this registry" in table
    assert "Lineage" not in run_cli("models", "show", "a").stdout


def test_a_lineage_that_turns_in_a_circle_ends(registry):
    network = build(tiny_networks.STCN)
    for name, parent in (("a", "b@1"), ("b", "a@1")):
        registry.publish(replace(card(name), parents=(parent,)), {"stcn": network})
    assert [each.reference for each in lineage(registry, "a")] == ["a@1", "b@1"]


def test_a_damaged_card_does_not_hide_the_others(run_cli):
    registry = Registry.default()
    publish(registry), publish(registry, "broken")
    (registry.root / "broken" / "1" / CARD).write_text("{")
    listed = json.loads(run_cli("models", "list", "--json").stdout)
    assert "mine" in [c["name"] for c in listed["checkpoints"]]
    assert [d["name"] for d in listed["damaged"]] == ["broken@1"] and "card.json" in listed["damaged"][0]["error"]
    shown = run_cli("models", "list")
    assert shown.code == 0 and "mine@1" in shown.stdout and "broken@1" in shown.stdout and "damaged" in shown.stdout
    checkpoints = json.loads(run_cli("doctor", "--json").stdout)["registry"]["checkpoints"]
    assert "mine@1" in checkpoints and "broken@1 (damaged)" in checkpoints


def test_models_show_counts_the_paper_s_networks(run_cli):
    costs = json.loads(run_cli("models", "show", "--arch", "paper", "--json").stdout)["costs"]
    assert costs["transunet"]["parameters"] + costs["deeplabv3plus"]["parameters"] == 117_597_362
    assert costs["stcn"]["parameters"] == 54_416_065
    assert costs["stcn"]["slice_px"] == 512


def test_a_full_disk_ends_publishing_and_saving_with_one_error(registry, tmp_path, full_disk):
    with full_disk(3000), pytest.raises(OutputError, match="no space left"):
        publish(registry)
    with full_disk(3000), pytest.raises(OutputError, match="no space left"):
        save_state(tmp_path / "state.pt", {"a": torch.zeros(10_000)})
    assert registry.listing() == Listing() and not list(registry.root.glob("*/*")) and not list(tmp_path.glob("*.pt"))


def test_processes_that_publish_at_once_get_a_version_each(registry, monkeypatch):
    write = registry_module._write

    def overtaken(folder, card, *rest):
        if card.version == 1:
            write(folder, card, *rest)
        return write(folder, card, *rest)

    monkeypatch.setattr(registry_module, "_write", overtaken)
    assert publish(registry)[0].version == 2
    assert [c.version for c in registry.listing().cards] == [1, 2]


def test_a_damaged_checkpoint_can_be_removed(registry):
    publish(registry)
    (registry.folder("mine") / CARD).write_text("{")
    assert registry.remove("mine@1") == "mine@1"
    assert [file.name for file in (registry.root / "mine").iterdir()] == ["1.removed"]


@pytest.mark.parametrize("version", ["²", "", "1" * 5000])
def test_versions_are_plain_numbers(registry, version):
    with pytest.raises(UsageError, match="no numeric version"):
        registry.folder(f"mine@{version}")


def test_weights_that_no_network_takes_are_refused(registry, tmp_path):
    networks = {"stcn": build(tiny_networks.STCN), "other": torch.nn.Linear(1, 1)}
    write_weights(tmp_path / WEIGHTS, networks, half=False)
    with pytest.raises(CheckpointError, match=r"it holds other\.bias"):
        read_weights(tmp_path / WEIGHTS, {"stcn": networks["stcn"]})


@pytest.mark.parametrize(
    "change",
    [{"version": "../../evil"}, {"version": -1}, {"version": True}, {"name": "../x"}, {"name": 5}, {"metrics": 3}],
)
def test_a_card_that_lies_is_not_imported(registry, tmp_path, change):
    publish(registry)
    export_checkpoint(registry, "mine", tmp_path / "mine.zip")
    with zipfile.ZipFile(tmp_path / "mine.zip") as archive:
        contents = {name: archive.read(name) for name in (CARD, WEIGHTS)}
    contents[CARD] = json.dumps(json.loads(contents[CARD]) | change).encode()
    with zipfile.ZipFile(tmp_path / "lie.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match=r"lie\.zip: holds a damaged checkpoint"):
        import_checkpoint(registry, tmp_path / "lie.zip")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("offset", "value"), [(0, 1), (2, 99)], ids=["encrypted", "packed in another way"])
def test_a_zip_that_cannot_be_unpacked_is_one_error(registry, tmp_path, offset, value):
    publish(registry)
    export_checkpoint(registry, "mine", tmp_path / "mine.zip")
    content = bytearray((tmp_path / "mine.zip").read_bytes())
    content[6 + offset] = content[content.find(b"PK\x01\x02") + 8 + offset] = value
    (tmp_path / "mine.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"mine\.zip: is not a checkpoint"):
        import_checkpoint(registry, tmp_path / "mine.zip")


@pytest.mark.parametrize("content", [b"", b"abc", b"PK\x03\x04"])
def test_what_is_no_training_state(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.pt: is not a training state"):
        load_state(tmp_path / "state.pt")
    torch.save([1], tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="it holds a list"):
        load_state(tmp_path / "state.pt")


@pytest.mark.parametrize("arguments", [("",), ("--arch", "lite", "--size", "100"), ("--arch", "lite", "--size", "0")])
def test_models_show_refuses_what_it_cannot_show(run_cli, arguments):
    outcome = run_cli("models", "show", *arguments)
    assert outcome.code == 2 and "None" not in outcome.stderr and outcome.stdout == ""


def test_a_version_that_is_packaged_and_published_by_hand_is_listed_once(registry, tmp_path):
    packaged = Registry(tmp_path / "packaged", packaged=tmp_path / "none")
    publish(packaged)
    shutil.copytree(tmp_path / "packaged" / "mine", tmp_path / "checkpoints" / "mine")
    assert [card.reference for card in registry.listing().cards] == ["mine@1"]


def test_a_challenge_refuses_what_saw_more_than_its_data(registry):
    published, network = publish(registry)
    assert registry.load("mine@1", challenge=True).card == published
    seen = replace(card(), provenance=Provenance(data=("ImageNet",), pretrained_or_extra_data=True))
    registry.publish(seen, {"stcn": network})
    assert registry.load("mine@2").card.provenance.pretrained_or_extra_data
    with pytest.raises(CheckpointError, match="mine@2 is pretrained or saw extra data.*ImageNet"):
        registry.load("mine@2", challenge=True)
