"""Does an organ propagate that the network never saw followed? Spleen, kidneys and pancreas, left out of training.

    python examples/left_out_organ.py LABELS OUT

LABELS is the folder of FLARE22's 50 label maps (FLARE22_Tr_0001.nii.gz ...). Anatomies of starter/split.json are
painted: 12 to train on, 3 to validate on, 3 of the test. Two `lite` STCNs train from the same random weights on the
same cases, one on all 13 organs, one with --leave-out: both kidneys are left out, as either mirrored looks like the
other. On the test cases these four organs alone are drawn on every 5th and 10th slice and carried to the slices
between, by the network alone and together with the outlines of annotated slices, without what their HU add.

Every step goes on where it was stopped: run the same line again after a kill. Half an hour on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np

SPLIT = Path(__file__).parent / "starter" / "split.json"
LEFT_OUT = ("spleen", "right_kidney", "left_kidney", "pancreas")
EVERY = (5, 10)  # slices between drawn ones
OFFSETS = 2  # first drawn slices that scores are averaged over
PAINTED = {"train": 5000, "validation": 5100, "test": 5200}  # seeds by part
COMMON = ("--arch", "lite", "--clips", "3", "--between-share", "0.5", "--last-gap-mm", "40", "--augmentation", "affine")
OPTIMISER = ("--schedule", "poly", "--clip-norm", "5", "--save-every", "50")
# Narrow crops first, which are quick; wide ones then teach what else on a slice looks like the organ.
NARROW = ("--crop", "128", "--iterations", "450", "--validate-every", "450", "--lr", "5e-4", "--warmup", "50")
WIDE = ("--crop", "192", "--iterations", "160", "--validate-every", "160", "--lr", "3e-4", "--warmup", "10")
MODELS = {"left-out": ("--leave-out", ",".join(LEFT_OUT)), "all": ()}  # options of each training
RIVALS = "rivals"  # what needs no network
METHODS = {  # titles of the table's columns
    "all": "trained on them",
    "left-out": "left out",
    "all+outlines": "trained on them, with outlines",
    "left-out+outlines": "left out, with outlines",
    "copy": "copy",
    "interpolation": "interpolation",
}

Scores = dict[str, dict[str, dict[str, float]]]  # Dice of a case by "every n", method and organ


def main() -> None:
    """Paint, train, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="folder of the label maps that split.json names")
    parser.add_argument("out", type=Path, help="folder for everything that is made")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of training and scoring")
    arguments = parser.parse_args()
    study = Study(labels=arguments.labels.resolve(), out=arguments.out.resolve(), threads=arguments.threads)
    study.paint()
    done = [RIVALS]
    for model, options in MODELS.items():
        study.train(model, *NARROW, *options)
        study.train(f"{model}-wide", *WIDE, *options, "--init", f"{model}@1")
        done.append(model)
        table = markdown(study.scores(done))
        (study.out / "left_out_organ.md").write_text(table)
        print(table)


@dataclass(frozen=True, kw_only=True)
class Study:
    """The folder of the study, and the steps that fill it. A step that was done is not done again."""

    labels: Path  # of the label maps
    out: Path  # of everything that is made
    threads: int  # of training and scoring

    def paint(self) -> None:
        """A CT on every anatomy, and the slice stores to train on."""
        self.out.mkdir(parents=True, exist_ok=True)
        split = json.loads(SPLIT.read_text())
        parts = {
            "train": (split["labelled"] + split["unlabelled"])[:12],
            "validation": split["validation"][:3],
            "test": split["test"][:3],
        }
        for part, names in parts.items():
            maps = [option for name in names for option in ("--labels", str(self.labels / f"{name}.nii.gz"))]
            self._run("phantom", part, *maps, "--slice-distance", "4", "--seed", str(PAINTED[part]))
            if part != "test":
                self._run("preprocess", f"{part}/labelled", "-o", f"stores/{part}")

    def train(self, name: str, *options: str) -> None:
        """Train and publish a network, or go on with its run."""
        if (self.out / "home" / "checkpoints" / name / "1").is_dir():
            return
        stores = ("--labelled", "stores/train", "--validation", "stores/validation")
        resume = ["--resume"] if (self.out / "runs" / name / "config.toml").is_file() else []
        self._run("train", "stcn", "--name", name, *stores, *COMMON, *OPTIMISER, *options, *resume)

    def scores(self, who: list[str]) -> list[Scores]:
        """The scores of every test case, of these models and of the rivals."""
        images = sorted((self.out / "test" / "labelled" / "images").iterdir())
        cases = [[self._case_scores(image, each) for each in who] for image in images]
        return [{n: {k: v for part in parts for k, v in part[n].items()} for n in parts[0]} for parts in cases]

    def _case_scores(self, image: Path, who: str) -> Scores:
        name = image.name.replace("_0000", "")
        kept = self.out / "scores" / who / f"{name}.json"
        if not kept.is_file():
            truth = self.out / "test" / "labelled" / "labels" / name
            found = score(image, truth, who, self.out / "home" / "checkpoints", threads=self.threads)
            kept.parent.mkdir(parents=True, exist_ok=True)
            temporary = kept.with_suffix(".part")
            temporary.write_text(json.dumps(found, indent=2) + "\n")
            temporary.replace(kept)
        return json.loads(kept.read_text())

    def _run(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "flarekit", "--threads", str(self.threads), *arguments]
        environment = os.environ | {"FLAREKIT_HOME": str(self.out / "home")}
        print("flarekit", *arguments[:4], flush=True)
        done = subprocess.run(command, cwd=self.out, env=environment, check=False)
        if done.returncode:
            sys.exit(f"`flarekit {' '.join(arguments)}` ended with {done.returncode}")


def score(image: Path, truth: Path, who: str, checkpoints: Path, *, threads: int) -> Scores:
    """The scores of one case, of a model or of the rivals; only the organs that were left out are drawn."""
    import torch

    from flarekit.checkpoints import Registry
    from flarekit.config.propagation import IntensityConfig, OutlineConfig, PropagationConfig
    from flarekit.evaluation.propagation import propagation_filler, rival_fillers, score_filler
    from flarekit.labels import FLARE22
    from flarekit.volumes import read_labels, read_volume

    torch.set_num_threads(threads)
    print("scoring", who, "on", image.name, flush=True)
    ct, organs = read_volume(image), [FLARE22.class_of(organ) for organ in LEFT_OUT]
    classes = FLARE22.to_classes(read_labels(truth, like=ct).array)
    drawn = np.where(np.isin(classes, organs), classes, 0).astype(np.uint8)
    if who == RIVALS:
        fillers = rival_fillers(len(drawn), ct.spacing_mm[1:])
    else:
        loaded, cpu = Registry(checkpoints).load(f"{who}-wide", kind="propagation"), torch.device("cpu")
        outlines = PropagationConfig(intensities=IntensityConfig(use=False))
        alone = replace(outlines, outlines=OutlineConfig(use=False))
        fillers = {
            who: propagation_filler(ct, loaded, alone, cpu),
            f"{who}+outlines": propagation_filler(ct, loaded, outlines, cpu),
        }
    return {
        str(every): {
            name: {
                FLARE22.names[organ - 1]: dice
                for organ, dice in score_filler(filler, drawn, every=every, offsets=OFFSETS).organs.items()
            }
            for name, filler in fillers.items()
        }
        for every in EVERY
    }


def markdown(cases: list[Scores]) -> str:
    """The table for people: mean Dice over cases of each way to fill the slices between drawn ones."""
    methods = [name for name in METHODS if name in cases[0][str(EVERY[0])]]
    titles = [METHODS[name] for name in methods]
    rows = ["| every | organ | " + " | ".join(titles) + " |", "| --- " * (len(titles) + 2) + "|"]
    for every in map(str, EVERY):
        columns = [
            {organ: fmean(c[every][name][organ] for c in cases if organ in c[every][name]) for organ in LEFT_OUT}
            for name in methods
        ]
        for organ in LEFT_OUT:
            cells = [f"{column[organ]:.3f}" for column in columns]
            rows.append(f"| {every} | {organ.replace('_', ' ')} | " + " | ".join(cells) + " |")
        rows.append(f"| {every} | mean | " + " | ".join(f"{fmean(c.values()):.3f}" for c in columns) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
