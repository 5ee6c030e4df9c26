"""Which randomisations of painted CTs matter? A pair of networks by each recipe: all of it, and each part left out.

    python examples/randomisation.py LABELS OUT

LABELS is the folder of FLARE22's 50 label maps (FLARE22_Tr_0001.nii.gz ...). By every row's recipe tissues are laid on
the same training anatomies of starter/split.json; a pair of `lite` networks is trained on them from the same random
weights, on whole slices of 3 mm pixels, and segments the five validation anatomies slice by slice, painted in five ways
(`phantom --hard all`, with all of the randomisation). What a pair without some randomisation loses there is what that
randomisation is worth.

Every step goes on where it was stopped: run the same line again after a kill. Twenty minutes or so a row and seed on
one core; `--rows` and `--threads 1` part the rows between processes; the first paints the validation CTs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flarekit.cli import main as flarekit
from flarekit.config.phantom import RECIPES, PhantomRecipe
from flarekit.config.preprocessing import PREPROCESSING
from flarekit.evaluation.bootstrap import mean_over_cases
from flarekit.files import write_json, write_text

SPLIT = json.loads((Path(__file__).parent / "starter" / "split.json").read_text(encoding="utf-8"))
KINDS = ("easy", "noise", "phase", "resolution", "metal")
PIXEL_MM, SIDE = 3.0, 128  # of slices painted, and seen by the networks: half of what `lite` sees elsewhere
GRID = ("--spacing", str(PIXEL_MM), "--size", str(SIDE))
ANATOMIES = 16  # trained on
TRAINING = (
    "--arch", "lite", "--labelled-batch", "4", "--unlabelled-batch", "0", "--lr", "1e-3",
    "--schedule", "poly", "--warmup", "50", "--clip-norm", "5", "--ema", "0.99", "--save-every", "50",
)  # fmt: skip

Scores = dict[str, dict[int, np.ndarray]]  # by row and seed, of kind and case: mean Dice over organs

FULL, PLAIN = RECIPES["randomised"], RECIPES["plain"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a pair is trained on."""

    title: str
    recipe: PhantomRecipe
    augmentation: str = "scanners"


ROWS = {
    "all": Row(title="all", recipe=FULL),
    "deformation": Row(
        title="deformation of the anatomy",
        recipe=replace(FULL, warp=replace(FULL.warp, scale=(1.0, 1.0), rotation_deg=0.0, shift_mm=0.0, elastic_mm=0.0)),
    ),
    "extent": Row(
        title="what the scan shows (cut organs, pelvis, cut field of view)",
        recipe=replace(
            FULL,
            warp=replace(FULL.warp, crop=0.0, extend_below=0.0),
            scanner=replace(FULL.scanner, cut_field=0.0),
        ),
    ),
    "wide": Row(
        title="HU from one wide range, equal neighbours",
        recipe=replace(FULL, tissue=replace(FULL.tissue, wide=0.0, equal_neighbours=0.0)),
    ),
    "phases": Row(
        title="contrast phases and their spread",
        recipe=replace(FULL, tissue=replace(FULL.tissue, phases=PLAIN.tissue.phases, spread=0.0)),
    ),
    "texture": Row(
        title="lesions, vessels, texture",
        recipe=replace(
            FULL,
            tissue=replace(FULL.tissue, lesions=0.0, organ_vessels=0.0, texture=(1.0, 1.0), slow_field_hu=(0.0, 0.0)),
        ),
    ),
    "scanner": Row(
        title="noise, streaks, blur, thickness",
        recipe=replace(
            FULL,
            scanner=replace(
                FULL.scanner, noise_hu=PLAIN.scanner.noise_hu, streaks=0.0, blur_mm=(0.8, 0.8), thickness_mm=(2.5, 2.5)
            ),
        ),
    ),
    "augmentation": Row(title="`--augmentation scanners`", recipe=FULL, augmentation="none"),
    "plain": Row(title="`--recipe plain`, no augmentation", recipe=PLAIN, augmentation="none"),
}


def main() -> None:
    """Paint, train, segment, and print the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="folder of the label maps that split.json names")
    parser.add_argument("out", type=Path, help="folder for everything that is made")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=tuple(ROWS), help="these alone")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0,), help="of the networks' random weights")
    parser.add_argument("--iterations", type=int, default=3000, help="of every training")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; all without it")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    study = Study(
        labels=arguments.labels.resolve(), out=out, iterations=arguments.iterations, threads=arguments.threads
    )
    study.paint_validation()
    for seed in arguments.seeds:
        for row in arguments.rows:
            study.make(row, seed)
    table = markdown(study.scores())
    write_text(out / "randomisation.md", table, overwrite=True)
    print(table)


@dataclass(frozen=True, kw_only=True)
class Study:
    """The folder of the study, and the steps that fill it. A step that was done is not done again."""

    labels: Path
    out: Path
    iterations: int
    threads: int | None

    def paint_validation(self) -> None:
        """The five validation anatomies, painted in five ways."""
        maps = self._maps(SPLIT["validation"])
        self._run("all", "phantom", "validation", *maps, "--hard", "all", "--labelled", "5", "--seed", "2000",
                  "--slice-distance", "12", *GRID)  # fmt: skip

    def make(self, row: str, seed: int) -> None:
        """Train a row's pair, segment the validation CTs with it and keep their Dice."""
        name = f"{row}-{seed}"
        if self._kept(name).is_file():
            self._dice(self._kept(name))
            return
        maps = self._maps((*SPLIT["labelled"], *SPLIT["unlabelled"])[:ANATOMIES])
        self._run(row, "phantom", f"stores/{row}", *maps, "--recipe", row, "--tissues", "--seed", "0", *GRID)
        resume = ["--resume"] if (self.out / "runs" / name / "config.toml").is_file() else []
        iterations = ["--iterations", str(self.iterations), "--validate-every", str(self.iterations)]
        if not (self.out / "home" / "checkpoints" / name).is_dir():
            self._run(row, "train", "cps", "--name", name, "--labelled", f"stores/{row}", "--seed", str(seed),
                      *TRAINING, "--augmentation", ROWS[row].augmentation, *iterations, *resume)  # fmt: skip
        dice = {}
        for kind in KINDS:
            masks = f"masks/{name}/{kind}"
            images = f"validation/{kind}/labelled/images"
            self._run(row, "segment", images, "-o", masks, "--model", name, "--no-propagation")
            found = self._run(row, "evaluate", "masks", masks, "validation/easy/labelled/labels", "--json")
            dice[kind] = {case["case"]: list(case["dice"].values()) for case in json.loads(found)["cases"]}
        write_json(self._kept(name), {"iterations": self.iterations, "dice": dice}, overwrite=True)

    def scores(self) -> Scores:
        """What is there of every row."""
        found: Scores = {row: {} for row in ROWS}
        for path in (self.out / "scores").glob("*.json"):
            row, _, seed = path.stem.rpartition("-")
            dice = self._dice(path)
            means = [[np.mean(dice[kind][case]) for case in sorted(dice[kind])] for kind in KINDS]
            found[row][int(seed)] = np.array(means)
        return {row: by_seed for row, by_seed in found.items() if by_seed}

    def _dice(self, path: Path) -> dict[str, dict[str, list[float]]]:
        """By kind and case; of trainings as long as those of this run, or of none."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["iterations"] != self.iterations:
            sys.exit(f"{path} is of {kept['iterations']} iterations, not {self.iterations}: choose another folder.")
        return kept["dice"]

    def _kept(self, name: str) -> Path:
        return self.out / "scores" / f"{name}.json"

    def _maps(self, names: list[str] | tuple[str, ...]) -> list[str]:
        return [option for name in names for option in ("--labels", str(self.labels / f"{name}.nii.gz"))]

    def _run(self, row: str, *arguments: str) -> str:
        """What `flarekit` prints, where the recipe of that row is known by the row's name."""
        threads = ["--threads", str(self.threads)] if self.threads else []
        command = [sys.executable, __file__, "--flarekit", *threads, *arguments]
        environment = os.environ | {"FLAREKIT_HOME": str(self.out / "home")}
        print(row, *arguments[:3], file=sys.stderr, flush=True)
        done = subprocess.run(command, cwd=self.out, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"`flarekit {' '.join(arguments)}` ended with {done.returncode}")
        return done.stdout


def markdown(scores: Scores) -> str:
    """The table: Dice of each row by kind, and what it has over `all` of the same seeds (95 %, over anatomies)."""
    lines = ["| left out | " + " | ".join(KINDS) + " | mean | beside all (95 %) |", "| --- |" + " ---: |" * 7]
    for row, by_seed in scores.items():
        dice = np.mean(list(by_seed.values()), axis=(0, 2))
        kinds = " | ".join(f"{value:.3f}" for value in dice)
        lines.append(f"| {ROWS[row].title} | {kinds} | {dice.mean():.3f} | {_beside(row, scores)} |")
    return "\n".join(lines) + "\n"


def _beside(row: str, scores: Scores) -> str:
    common = [] if row == "all" else sorted(scores[row].keys() & scores.get("all", {}).keys())
    if not common:
        return "-"
    found = mean_over_cases(np.mean([scores[row][seed] - scores["all"][seed] for seed in common], axis=(0, 1)))
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


if __name__ == "__main__":
    RECIPES.update({name: replace(row.recipe, name=name) for name, row in ROWS.items()})
    PREPROCESSING["lite"] = replace(PREPROCESSING["lite"], spacing_mm=PIXEL_MM, canvas=SIDE)
    if sys.argv[1:2] == ["--flarekit"]:
        del sys.argv[1]
        sys.exit(flarekit())
    main()
