"""Imports point down only: the architecture, read from the code's own import statements."""

from __future__ import annotations

import ast
from pathlib import Path

import flarekit

ROOT = Path(flarekit.__file__).parent

# From top to bottom. A part may import parts of lower rows, and of its own row where no cycle arises.
LAYERS = (
    {"cli", "api", "__main__"},
    {"pipeline", "selftrain", "bench", "docker", "demo", "doctor", "ablation"},
    {"reference", "propagation", "suggestion", "consensus", "training", "evaluation", "report", "phantom"},
    {"checkpoints"},
    {"models", "data", "check"},
    {"ops", "volumes"},
    {"errors", "labels", "renumbering", "config", "files", "lock", "parallel"},
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
HEAVY = {"torch", "timm", "SimpleITK", "nibabel", "h5py", "matplotlib", "scipy", "accelerate", "triton"}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def internal_imports() -> dict[str, set[str]]:
    """The parts of flarekit that each part imports."""
    graph: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        part = part_of(path)
        if part == "__init__":
            continue
        targets = {name.split(".")[1] for name in imported_modules(path) if name.startswith("flarekit.")}
        graph.setdefault(part, set()).update(targets & set(LEVEL) - {part})
    return graph


def test_every_part_has_a_layer():
    assert {part_of(path) for path in ROOT.rglob("*.py")} - {"__init__"} <= set(LEVEL)


def test_imports_never_point_up():
    upwards = [(a, b) for a, targets in internal_imports().items() for b in targets if LEVEL[b] < LEVEL[a]]
    assert upwards == []


def test_parts_of_one_row_do_not_import_each_other_in_circles():
    graph = internal_imports()

    def reachable(start: str, seen: frozenset[str] = frozenset()) -> set[str]:
        beside = {part for part in graph.get(start, ()) if LEVEL[part] == LEVEL[start]} - seen
        return beside.union(*(reachable(part, seen | beside) for part in beside))

    assert [part for part in graph if part in reachable(part)] == []


def test_the_ground_floor_imports_no_heavy_library():
    paths = [path for path in ROOT.rglob("*.py") if LEVEL.get(part_of(path)) == len(LAYERS) - 1]
    heavy = {(path.name, name) for path in paths for name in imported_modules(path) if name.split(".")[0] in HEAVY}
    assert paths and heavy == set()


def test_weights_are_read_and_written_in_checkpoints_alone():
    offenders = [
        path.name
        for path in ROOT.rglob("*.py")
        if part_of(path) != "checkpoints"
        and any(word in path.read_text() for word in ("torch.load(", "torch.save(", "safetensors"))
        and path.name != "doctor.py"
    ]
    assert offenders == []
