"""A flarekit command line in a process of its own that knows the architecture `tiny`.

    python tests/training_process.py [--still] train cps ...

--still freezes normalisation and switches dropout off, so that a batch may be split over processes.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from torch import nn
from training_setup import TINY, TINY_GRID

from flarekit.cli import main
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.preprocessing import PREPROCESSING

STILL = replace(
    TINY,
    transunet=replace(TINY.transunet, dropout=0.0),
    # With the last convolution, which nothing comes after: its parameters get no gradient.
    deeplabv3plus=replace(TINY.deeplabv3plus, dropout=0.0, encoder_head=True),
)


def freeze_normalisation() -> None:
    """Make every batch normalisation use its running statistics, in training too."""
    nn.BatchNorm2d.train = lambda self, mode=True: nn.Module.train(self, False)  # type: ignore[method-assign]


if __name__ == "__main__":
    arguments = sys.argv[1:]
    ARCHITECTURES["tiny"], PREPROCESSING["tiny"] = TINY, TINY_GRID
    if arguments[0] == "--still":
        arguments.pop(0)
        ARCHITECTURES["tiny"] = STILL
        freeze_normalisation()
    sys.exit(main(arguments))
