"""Does cross pseudo supervision help? Supervised alone, with twice the iterations, and CPS, on painted CTs.

    python examples/cps_benefit.py LABELS OUT

LABELS is the folder of FLARE22's 50 label maps (FLARE22_Tr_0001.nii.gz ...). The anatomies of starter/split.json are
painted: 5 labelled, 30 unlabelled, 5 for validation, 10 for the test, one CT each. All arms train the same pair of
`lite` networks on crops of 192 px from the same random weights and keep what does best on the validation cases; three
seeds each. The test cases are segmented slice by slice by each pair (--no-propagation) and scored at the very end.

Every step goes on where it was stopped: run the same line again after a kill. Four hours or so on two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flarekit.evaluation.bootstrap import mean_over_cases

SPLIT = Path(__file__).parent / "starter" / "split.json"
SEEDS = (0, 1, 2)
LOOP = ("--arch", "lite", "--crop", "192", "--augmentation", "affine")
OPTIMISER = ("--lr", "1e-3", "--schedule", "poly", "--warmup", "100", "--clip-norm", "5")
SAVING = ("--validate-every", "500", "--validation-stride", "4", "--save-every", "100")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train."""

    name: str
    title: str
    options: tuple[str, ...]


# Two labelled slices an iteration in every arm; CPS sees two unlabelled ones besides.
ARMS = (
    Arm(name="supervised", title="supervised", options=("--iterations", "2000", "--unlabelled-batch", "0")),
    Arm(name="longer", title="supervised, twice as long", options=("--iterations", "4000", "--unlabelled-batch", "0")),
    Arm(name="cps", title="CPS", options=("--iterations", "2000", "--unlabelled-batch", "2")),
)


def main() -> None:
    """Paint, train, segment, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="folder of the label maps that split.json names")
    parser.add_argument("out", type=Path, help="folder for everything that is made")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads of the training; all without it")
    arguments = parser.parse_args()
    labels, out = arguments.labels.resolve(), arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    study = Study(labels=labels, out=out, threads=arguments.threads)
    study.paint()
    for seed in SEEDS:
        for arm in ARMS:
            study.train(arm, seed)
    for seed in SEEDS:
        for arm in ARMS:
            study.segment(arm, seed)
    report = compare({arm.name: [study.scores(arm, seed) for seed in SEEDS] for arm in ARMS})
    (out / "cps_benefit.json").write_text(json.dumps(report, indent=2) + "\n")
    (out / "cps_benefit.md").write_text(markdown(report))
    print(markdown(report))


@dataclass(frozen=True, kw_only=True)
class Study:
    """The folder of the study, and the steps that fill it. A step that was done is not done again."""

    labels: Path  # of the label maps
    out: Path  # of everything that is made
    threads: int | None  # of the training

    def paint(self) -> None:
        """A CT on every anatomy of the split, and the slice stores to train on."""
        split = json.loads(SPLIT.read_text())
        for seed, part in enumerate(("labelled", "unlabelled", "validation", "test")):
            maps = [option for name in split[part] for option in ("--labels", str(self.labels / f"{name}.nii.gz"))]
            self._run("phantom", part, *maps, "--labelled", str(len(split[part])), "--seed", str(4000 + 100 * seed))
            if part != "test":  # the unlabelled cases keep their truth on disk; --unlabelled does not look at it
                self._run("preprocess", f"{part}/labelled", "-o", f"stores/{part}")

    def train(self, arm: Arm, seed: int) -> None:
        """Train and publish a pair, or go on with its run."""
        name = self._name(arm, seed)
        if (self.out / "home" / "checkpoints" / name / "1").is_dir():
            return
        stores = ["--labelled", "stores/labelled", "--validation", "stores/validation"]
        stores += ["--unlabelled", "stores/unlabelled"] if arm.name == "cps" else []
        resume = ["--resume"] if (self.out / "runs" / name / "config.toml").is_file() else []
        settings = [*LOOP, *OPTIMISER, *SAVING, *arm.options, *resume]
        self._run("train", "cps", "--name", name, "--seed", str(seed), *stores, *settings)

    def segment(self, arm: Arm, seed: int) -> None:
        """Segment the test cases that have no mask yet."""
        name = self._name(arm, seed)
        for image in sorted((self.out / "test" / "labelled" / "images").iterdir()):
            mask = self.out / "masks" / name / image.name.replace("_0000", "")
            if not mask.is_file():
                self._run("segment", str(image), "--model", name, "--no-propagation", "-o", str(mask))

    def scores(self, arm: Arm, seed: int) -> dict[str, dict[str, float]]:
        """Dice by case and organ."""
        found = self._run("evaluate", "masks", f"masks/{self._name(arm, seed)}", "test/labelled/labels", "--json")
        return {case["case"]: case["dice"] for case in json.loads(found)["cases"]}

    def _name(self, arm: Arm, seed: int) -> str:
        return f"{arm.name}-{seed}"

    def _run(self, *arguments: str) -> str:
        threads = ["--threads", str(self.threads)] if self.threads else []
        command = [sys.executable, "-m", "flarekit", *threads, *arguments]
        environment = os.environ | {"FLAREKIT_HOME": str(self.out / "home")}
        print("flarekit", *arguments[:4], flush=True)
        done = subprocess.run(command, cwd=self.out, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"`flarekit {' '.join(arguments)}` ended with {done.returncode}")
        return done.stdout


def compare(scores: dict[str, list[dict[str, dict[str, float]]]]) -> dict[str, object]:
    """Mean Dice of every arm, and its differences from the other arms with 95 % intervals over cases.

    `scores` holds, for every arm and seed, Dice by case and organ. Seeds are averaged within a case first.
    """
    cases = sorted(scores["supervised"][0])
    organs = list(scores["supervised"][0][cases[0]])
    dice = {
        arm: np.mean([[[seed[case][organ] for organ in organs] for case in cases] for seed in seeds], axis=0)
        for arm, seeds in scores.items()
    }
    spread = {
        arm: np.std([np.mean([list(case.values()) for case in seed.values()]) for seed in seeds], ddof=1)
        for arm, seeds in scores.items()
    }
    return {
        "cases": cases,
        "organs": organs,
        "seeds": len(SEEDS),
        "arms": {
            arm: {
                "dice": dict(zip(organs, planes.mean(0).tolist(), strict=True)),
                "mean": float(planes.mean()),
                "sd_of_seeds": float(spread[arm]),
                "gain_over": {other: gains(planes - dice[other], organs) for other in dice if other != arm},
            }
            for arm, planes in dice.items()
        },
    }


def gains(difference: np.ndarray, organs: list[str]) -> dict[str, list[float]]:
    """[mean, low, high] by organ and over all: paired bootstrap of `difference` (cases, organs) over its cases."""
    columns = {organ: difference[:, i] for i, organ in enumerate(organs)} | {"mean": difference.mean(1)}
    found = {name: mean_over_cases(column) for name, column in columns.items()}
    return {name: [estimate.mean, estimate.low, estimate.high] for name, estimate in found.items()}


def markdown(report: dict) -> str:
    """The table for people: Dice of each arm, and what the last two gain, with 95 % intervals."""
    arms = report["arms"]
    titles = [*(arm.title for arm in ARMS), "CPS over twice as long"]
    rows = ["| organ | " + " | ".join(titles) + " |", "| --- |" + " --- |" * len(titles)]
    for organ in (*report["organs"], "mean"):
        cells = [_dice(arms["supervised"], organ)]
        cells += [f"{_dice(arms[arm], organ)} ({_gain(arms[arm], 'supervised', organ)})" for arm in ("longer", "cps")]
        cells += [_gain(arms["cps"], "longer", organ)]
        rows.append(f"| {organ.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _dice(arm: dict, organ: str) -> str:
    return f"{arm['mean'] if organ == 'mean' else arm['dice'][organ]:.3f}"


def _gain(arm: dict, over: str, organ: str) -> str:
    mean, low, high = arm["gain_over"][over][organ]
    return f"{mean:+.3f}, {low:+.3f} to {high:+.3f}"


if __name__ == "__main__":
    main()
