"""Which packages a package runs with here, and in which versions."""

from __future__ import annotations

import re
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from flarekit.errors import MissingDependency

_TORCH_INDEXES = "https://download.pytorch.org/whl/"
_BUILT_FOR_GPU = re.compile(r"cu\d+|rocm[\d.]+")


def requirements(package: str) -> str:
    """The lines of a requirements.txt with everything that the installed `package` needs, directly or not.

    A torch built for one CUDA or ROCm is pinned to that build and its index named: PyPI's of the same version is for
    another, which older drivers refuse and whose libraries are others than are pinned here. All else that a version
    says of its build is left out: only some indexes know it, and a torch for the CPU alone would not use a GPU. Raises
    MissingDependency where something is not installed.
    """
    versions = _needed_by(package)
    build = versions["torch"].local or "" if "torch" in versions else ""
    index = [f"--extra-index-url {_TORCH_INDEXES}{build}"] if _BUILT_FOR_GPU.fullmatch(build) else []
    pins = (f"{name}=={v if index and v.local == build else v.public}" for name, v in sorted(versions.items()))
    return "".join(f"{line}\n" for line in (*index, *pins))


def _needed_by(package: str) -> dict[str, Version]:
    found: dict[str, Version] = {}
    seen: set[tuple[str, str]] = set()
    wanted = [(package, "")]
    while wanted:
        name, extra = wanted.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        installed = _installed(name)
        if name != package:
            found[name] = Version(installed.version)
        for requirement in map(Requirement, installed.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                wanted += [(canonicalize_name(requirement.name), e) for e in ("", *requirement.extras)]
    return found


def _installed(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise MissingDependency(
            f"{name} is not installed, so its version cannot be pinned", remedy="Install flarekit with pip."
        ) from error
