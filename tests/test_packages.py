"""Packages whose names are imported when they are asked for."""

from __future__ import annotations

from operator import attrgetter
from types import ModuleType

import pytest

import flarekit.consensus
import flarekit.volumes


@pytest.mark.parametrize("package", [flarekit.consensus, flarekit.volumes])
def test_every_name_of_a_package_is_there_and_others_are_not(package: ModuleType) -> None:
    for name in package.__all__:
        assert callable(getattr(package, name))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        attrgetter("nothing")(package)
