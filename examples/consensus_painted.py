"""Is the consensus score worth something? Painted CTs, easy and hard, labelled by several models, beside the truth.

    python examples/consensus_painted.py LABELS OUT --models cps-0,cps-1,cps-2

LABELS is the folder of FLARE22's 50 label maps (FLARE22_Tr_0001.nii.gz ...). On each of the ten test anatomies of
starter/split.json five CTs are painted: an easy one, and one each with much noise, in a phase that training does not
show, with low resolution, and with metal. `pseudolabel` labels the fifty CTs and scores how far the models agree;
`evaluate consensus` compares the scores with the true Dice. `--part validation` does the same on the five validation
anatomies: what score to take is decided there. The models (see cps_benefit.py) must not have seen either part.

Every step goes on where it was stopped: run the same line again after a kill.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SPLIT = Path(__file__).parent / "starter" / "split.json"
KINDS = ("easy", "noise", "phase", "resolution", "metal")
SEEDS = {"validation": 5000, "test": 5100}


def main() -> None:
    """Paint, label, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="folder of the label maps that split.json names")
    parser.add_argument("out", type=Path, help="folder for everything that is made")
    parser.add_argument("--models", required=True, help="reference checkpoints with commas between")
    parser.add_argument("--part", choices=tuple(SEEDS), default="test", help="anatomies of the split")
    parser.add_argument("--anatomies", type=int, default=None, help="the first so many of them only")
    parser.add_argument("--workers", type=int, default=0, help="processes that paint and label; this one without it")
    arguments = parser.parse_args()
    study = Study(
        labels=arguments.labels.resolve(),
        out=arguments.out.resolve() / arguments.part,
        part=arguments.part,
        anatomies=arguments.anatomies,
        workers=("--workers", str(arguments.workers)),
    )
    study.out.mkdir(parents=True, exist_ok=True)
    study.paint()
    for kind in KINDS:
        study.label(kind, arguments.models)
    study.evaluate()


@dataclass(frozen=True, kw_only=True)
class Study:
    """The folder of one part's CTs, and the steps that fill it. A step that was done is not done again."""

    labels: Path  # of the label maps
    out: Path  # of everything that is made
    part: str  # of the split
    anatomies: int | None  # of the part, the first so many
    workers: tuple[str, str]  # option of the commands that take several processes

    def paint(self) -> None:
        """Five CTs on every anatomy: painted/KIND/labelled/images, and their truth beside them."""
        names = json.loads(SPLIT.read_text())[self.part][: self.anatomies]
        maps = [option for name in names for option in ("--labels", str(self.labels / f"{name}.nii.gz"))]
        count = ("--labelled", str(len(names)), "--seed", str(SEEDS[self.part]))
        self._run("phantom", "painted", "--hard", "all", *count, *maps, *self.workers)

    def label(self, kind: str, models: str) -> None:
        """Pseudo-labels of one kind, rejected ones too, and their ledger: pseudo/KIND."""
        images, output = f"painted/{kind}/labelled/images", f"pseudo/{kind}"
        self._run("pseudolabel", images, "--models", models, "--write-rejected", "-o", output, *self.workers)

    def evaluate(self) -> None:
        """consensus.json, consensus.csv and consensus.png, and the tables on stdout."""
        ledgers = [f"pseudo/{kind}" for kind in KINDS]
        evaluation = ("evaluate", "consensus", *ledgers, "painted/easy/labelled/labels")
        report = self._run(*evaluation, "--plot", "consensus.png", "--csv", "consensus.csv", "--overwrite", "--json")
        (self.out / "consensus.json").write_text(report)
        print(self._run(*evaluation))

    def _run(self, *arguments: str) -> str:
        print("flarekit", *arguments[:4], file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "flarekit", *arguments]
        done = subprocess.run(command, cwd=self.out, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"`flarekit {' '.join(arguments)}` ended with {done.returncode}")
        return done.stdout


if __name__ == "__main__":
    main()
