"""A training as a library, in a Python that has what computes and nothing that reads volumes or shows anything.

    python tests/bare_python.py FOLDER

FOLDER holds the stores of `training_setup` and one of tissues. Packages that a GPU machine may lack are hidden, then
two iterations of every training run, and what `flarekit bench train` measures is imported.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path

MISSING = frozenset(
    {"nibabel", "SimpleITK", "hdf5plugin", "accelerate", "typer", "rich", "psutil", "matplotlib", "scipy", "pydicom"}
)


class Bare(PathFinder):
    """Finds every module but the missing ones."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname.partition(".")[0] in MISSING else super().find_spec(fullname, path, target)


def train_everything(folder: Path) -> None:
    """Publishes one checkpoint of each training."""
    import flarekit.bench.train  # noqa: F401
    from flarekit.checkpoints import Registry
    from flarekit.config.architecture import ARCHITECTURES
    from flarekit.config.preprocessing import PREPROCESSING
    from flarekit.config.run import RunSettings, Stores
    from flarekit.config.training import CPSConfig, LoopConfig, STCNTrainingConfig, SupervisedConfig
    from flarekit.training.runs import train

    ARCHITECTURES["tiny"], PREPROCESSING["tiny"] = _tiny()
    stores = Stores(labelled=(folder / "labelled",), validation=folder / "validation")
    loop = LoopConfig(iterations=2, validate_every=2, save_every=1)
    painted = Stores(labelled=(folder / "tissues",), held_back=0.0)
    cps = CPSConfig(loop=loop, crop=32)
    supervised = SupervisedConfig(loop=loop, network="deeplabv3plus", crop=32)
    stcn = STCNTrainingConfig(loop=loop, clips=1, crop=32)
    trainings = {
        "cps": (cps, replace(stores, unlabelled=(folder / "unlabelled",))),
        "supervised": (supervised, stores),
        "stcn": (stcn, stores),
        "painted-cps": (cps, replace(painted, unlabelled=(folder / "tissues",))),
        "painted-stcn": (stcn, painted),
    }
    for name, (config, read) in trainings.items():
        settings = RunSettings(name=f"bare-{name}", stores=read, arch="tiny", runs=folder / "runs")
        print(train(settings, config, Registry.default()).reference)


def _tiny():
    import tiny_networks

    from flarekit.config.architecture import Architecture
    from flarekit.config.preprocessing import PreprocessingConfig

    networks = Architecture(
        transunet=tiny_networks.TRANSUNET, deeplabv3plus=tiny_networks.DEEPLAB, stcn=tiny_networks.STCN
    )
    return networks, PreprocessingConfig(spacing_mm=1.6, canvas=96)


if __name__ == "__main__":
    sys.meta_path[:] = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
    train_everything(Path(sys.argv[1]))
    assert not MISSING & sys.modules.keys()
