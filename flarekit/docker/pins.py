"""Which packages a package runs with here, and in which versions."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from flarekit.errors import MissingDependency


def pinned(package: str) -> dict[str, str]:
    """The version of everything that the installed `package` needs, directly or not, by name.

    Without what a version may say of its build (`+cu132`, `+cpu`), by which only some indexes know it. Raises
    MissingDependency where something is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    wanted = [(package, "")]
    while wanted:
        name, extra = wanted.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        installed = _installed(name)
        if name != package:
            found[name] = Version(installed.version).public
        for requirement in map(Requirement, installed.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                wanted += [(canonicalize_name(requirement.name), e) for e in ("", *requirement.extras)]
    return dict(sorted(found.items()))


def _installed(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise MissingDependency(
            f"{name} is not installed, so its version cannot be pinned", remedy="Install flarekit with pip."
        ) from error
