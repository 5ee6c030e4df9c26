"""Architecture configurations: what they refuse, and their way through plain dictionaries."""

from __future__ import annotations

import dataclasses

import pytest

from flarekit.config import toml
from flarekit.config.architecture import (
    ARCHITECTURES,
    CONFIGS,
    Architecture,
    DeepLabConfig,
    STCNConfig,
    TransUNetConfig,
)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_preset_survives_a_plain_dictionary(name: str) -> None:
    architecture = ARCHITECTURES[name]

    assert toml.from_dict(Architecture, toml.to_dict(architecture)) == architecture


def test_configurations_are_named_as_the_fields_of_an_architecture() -> None:
    assert list(CONFIGS) == [field.name for field in dataclasses.fields(Architecture)]


def test_another_number_of_classes_changes_the_reference_networks_alone() -> None:
    lite = ARCHITECTURES["lite"]
    changed = lite.for_classes(5)

    assert (changed.transunet.classes, changed.deeplabv3plus.classes) == (5, 5)
    assert changed.for_classes(lite.transunet.classes) == lite


@pytest.mark.parametrize(
    ("config", "settings", "named"),
    [
        (TransUNetConfig, {"classes": 1}, "classes"),
        (TransUNetConfig, {"classes": 256}, "256"),
        (TransUNetConfig, {"grid": 0}, "grid"),
        (TransUNetConfig, {"heads": 7}, "heads"),
        (TransUNetConfig, {"resnet_groups": 48}, "resnet_groups"),
        (TransUNetConfig, {"resnet_units": (3, 4)}, "resnet_units"),
        (TransUNetConfig, {"decoder": (256, 128, 64, 0)}, "decoder"),
        (TransUNetConfig, {"dropout": 1.0}, "dropout"),
        (DeepLabConfig, {"rates": (12, 24)}, "rates"),
        (DeepLabConfig, {"channels": -1}, "channels"),
        (DeepLabConfig, {"dropout": -0.1}, "dropout"),
        (STCNConfig, {"key_block": "resnext"}, "resnext"),
        (STCNConfig, {"key_channels": 0}, "key_channels"),
        (STCNConfig, {"decoder": (512,)}, "decoder"),
    ],
)
def test_sizes_that_cannot_be_are_refused_by_name(config: type, settings: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        config(**settings)
