"""`models import --as` and `models export --as`: from a file of another project to a checkpoint, and back to a file."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from foreign_weights import fixture, made_up_state

from flarekit.checkpoints import Registry
from flarekit.checkpoints.foreign.conversion import ImportOptions, export_weights, import_weights
from flarekit.checkpoints.foreign.formats import FORMATS, WRITERS
from flarekit.checkpoints.foreign.state import read_state
from flarekit.cli import models as models_command
from flarekit.config.preprocessing import WINDOWS
from flarekit.errors import CheckpointError, InputError, OutputError, UsageError
from flarekit.labels import LabelSet
from flarekit.training.initial import checkpoint_networks

LABELS = LabelSet(name="four", names=("liver", "spleen", "aorta", "stomach"), ids=(1, 2, 3, 4))
OPTIONS = ImportOptions(labels=LABELS)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "checkpoints", packaged=tmp_path / "packaged")


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return made_up_state(fixture("transunet_small")["tensors"])


@pytest.fixture
def file(tmp_path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save(state, tmp_path / "synapse.pth")
    return tmp_path / "synapse.pth"


class Boom:
    """What a pickle runs when it is read carelessly."""

    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('a pickle ran its code')",))


def test_imported_weights_become_a_checkpoint_that_says_what_they_are(registry: Registry, file: Path) -> None:
    card = import_weights(registry, file, "transunet", OPTIONS)
    loaded = registry.load("synapse", kind="reference")

    assert (card.reference, card.labels) == ("synapse@1", LABELS)
    assert loaded.networks["transunet"].config.classes == 5
    assert (card.preprocessing.canvas, card.preprocessing.normalisation) == (224, "none")
    assert card.provenance.pretrained_or_extra_data
    assert "Imported from synapse.pth (SHA-256 " in card.provenance.notes
    assert str(file.parent) not in json.dumps(card.to_json())


def test_a_challenge_refuses_them(registry: Registry, file: Path) -> None:
    import_weights(registry, file, "transunet", OPTIONS)

    with pytest.raises(CheckpointError, match="synapse@1 is pretrained or saw extra data, which --challenge refuses"):
        registry.load("synapse", challenge=True)


def test_what_the_file_does_not_say_is_taken_from_the_options(registry: Registry, file: Path) -> None:
    options = ImportOptions(
        labels=LABELS, name="mine", windows="transunet", normalisation="imagenet", spacing_mm=1.5, canvas=256
    )

    card = import_weights(registry, file, "transunet", options)

    assert card.name == "mine"
    assert card.preprocessing.windows == WINDOWS["transunet"]
    assert (card.preprocessing.spacing_mm, card.preprocessing.canvas) == (1.5, 256)
    assert card.preprocessing.normalisation == "imagenet"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": "bone"}, "--windows does not know 'bone'"),
        ({"normalisation": "z"}, "normalisation is one of"),
        ({"canvas": 100}, "--canvas is a multiple of 32, got 100"),
        ({"spacing_mm": 50.0}, "spacing_mm lies in"),
        ({"name": "a/b"}, "no name for a checkpoint"),
    ],
)
def test_options_that_cannot_be_are_refused(registry: Registry, file: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        import_weights(registry, file, "transunet", ImportOptions(labels=LABELS, **options))


def test_other_classes_than_the_label_sets_are_refused(registry: Registry, file: Path) -> None:
    three = LabelSet(name="three", names=("a", "b", "c"), ids=(1, 2, 3))

    with pytest.raises(CheckpointError, match=r"tells 5 classes apart.*'three' has 4.*--dataset"):
        import_weights(registry, file, "transunet", ImportOptions(labels=three))


def test_weights_under_another_format_are_refused(registry: Registry, file: Path) -> None:
    for format in ("deeplabv3plus", "stcn-original"):
        with pytest.raises(CheckpointError, match="Check --as"):
            import_weights(registry, file, format, OPTIONS)
    with pytest.raises(UsageError, match="--as does not know 'unet'"):
        import_weights(registry, file, "unet", OPTIONS)
    assert not registry.listing().cards


def test_exported_weights_are_the_imported_ones(registry: Registry, file: Path, tmp_path: Path) -> None:
    import_weights(registry, file, "transunet", OPTIONS)

    result = export_weights(registry, "synapse", "transunet", tmp_path / "back.pth")

    first, back = torch.load(file, weights_only=True), torch.load(tmp_path / "back.pth", weights_only=True)
    assert all(torch.equal(back[name], tensor) for name, tensor in first.items()) and back.keys() == first.keys()
    assert "img_size=224, num_classes=5" in result["loads_into"]
    with pytest.raises(OutputError, match="exists"):
        export_weights(registry, "synapse", "transunet", tmp_path / "back.pth")
    with pytest.raises(CheckpointError, match="synapse@1 holds transunet, no stcn"):
        export_weights(registry, "synapse", "stcn-original", tmp_path / "other.pth")


@pytest.mark.parametrize("key", ["state_dict", "model", "network"])
def test_states_are_found_in_what_training_scripts_save(tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 7, key: {"module.conv.weight": torch.ones(2, dtype=torch.half)}}, tmp_path / "run.pth")

    state = read_state(tmp_path / "run.pth")

    assert state.keys() == {"conv.weight"} and state["conv.weight"].dtype == torch.float32


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.ones(2), "surprise": Boom()}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"surprise": Boom()}, protocol=2))

    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(CheckpointError, match="such code is never run"):
            read_state(tmp_path / name)


def test_files_that_are_no_weights_are_refused(tmp_path: Path, file: Path) -> None:
    (tmp_path / "cut.pth").write_bytes(file.read_bytes()[:100_000])
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "cut.safetensors").write_bytes(b"1234")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")

    for name in ("cut.pth", "empty.pth", "text.pth", "cut.safetensors"):
        with pytest.raises(CheckpointError, match="cut short or of another kind"):
            read_state(tmp_path / name)
    with pytest.raises(CheckpointError, match="it holds a list"):
        read_state(tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="no tensors by name"):
        read_state(tmp_path / "numbers.pth")
    with pytest.raises(InputError, match="cannot be read"):
        read_state(tmp_path / "none.pth")
    with pytest.raises(InputError, match="cannot be read"):
        read_state(tmp_path)


def test_a_vit_is_for_training_alone(registry: Registry, tmp_path: Path) -> None:
    arrays = made_up_state(fixture("vit_small")["tensors"])
    np.savez(tmp_path / "R50+ViT-B_16.npz", **{name: tensor.numpy() for name, tensor in arrays.items()})
    card = import_weights(registry, tmp_path / "R50+ViT-B_16.npz", "vit-npz", replace(OPTIONS, canvas=320))

    start = checkpoint_networks("reference", card.reference, registry, labels=LABELS, seed=0, networks=("transunet",))

    assert card.reference == "R50-ViT-B_16@1"
    config = start.configs["transunet"]
    assert (config.grid, config.classes, card.preprocessing.canvas) == (20, 5, 320)
    assert torch.equal(start.networks["transunet"].transformer.norm.bias, arrays["Transformer/encoder_norm/bias"])
    with pytest.raises(CheckpointError, match="is an initialisation checkpoint.*Parts of it are random"):
        registry.load(card.reference, kind="reference")


def test_the_commands_import_show_and_export(
    run_cli, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAREKIT_HOME", str(tmp_path / "home"))
    names = {"background": 0, "liver": 1, "spleen": 2, "aorta": 3, "stomach": 4}
    (tmp_path / "dataset.json").write_text(json.dumps({"name": "four", "labels": names}))

    arguments = ("--as", "transunet", "--name", "net", "--dataset", tmp_path / "dataset.json", "--json")
    imported = run_cli("models", "import", file, *arguments)
    assert (imported.code, json.loads(imported.stdout)) == (0, {"imported": "net@1", "kind": "reference"})
    shown = run_cli("models", "show", "net")
    assert shown.code == 0 and "refused: pretrained or extra data" in shown.stdout
    exported = run_cli("models", "export", "net", "--as", "transunet", "-o", tmp_path / "out.pth")
    assert exported.code == 0 and "num_classes=5" in exported.stdout
    forgotten = run_cli("models", "import", file)
    assert forgotten.code == 3 and "need --as" in forgotten.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("segment", "ct.nii.gz"),
        ("propagate", "ct.nii.gz", "masks.nii.gz", "-o", "out.nii.gz"),
        ("pseudolabel", ".", "--models", "starter-reference,again", "-o", "out"),
    ],
)
def test_the_starter_weights_are_refused_in_a_challenge(
    run_cli, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAREKIT_HOME", str(tmp_path / "home"))
    starter = Registry.default().load("starter-reference")
    Registry.default().publish(replace(starter.card, name="again"), starter.networks)
    for name in ("ct.nii.gz", "masks.nii.gz"):
        nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), dtype=np.int16), np.eye(4)), name)

    outcome = run_cli(*command, "--challenge")

    assert outcome.code == 5 and "which --challenge refuses" in outcome.stderr


def test_the_commands_know_every_format() -> None:
    assert models_command.INPUTS.split(", ") == list(FORMATS)
    assert models_command.OUTPUTS.split(", ") == list(WRITERS)
