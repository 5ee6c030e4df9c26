"""Is the confidence of `segment` worth something? Painted CTs, easy and hard, segmented and held against the truth.

    python examples/confidence_painted.py LABELS OUT

LABELS is the folder of FLARE22's 50 label maps (FLARE22_Tr_0001.nii.gz ...). On each of the five validation anatomies
of starter/split.json five CTs are painted: an easy one, and one each with much noise, in a phase that training does not
show, with low resolution, and with metal. `segment` segments the 25 CTs, and `evaluate confidence` ranks organs and
cases by confidence and by true Dice. What flags say (flarekit/pipeline/flags.py) is decided on these cases.

Every step goes on where it was stopped: run the same line again after a kill.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

SPLIT = Path(__file__).parent / "starter" / "split.json"
KINDS = ("easy", "noise", "phase", "resolution", "metal")
SEED = 7000


def main() -> None:
    """Paint, segment, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="folder of the label maps that split.json names")
    parser.add_argument("out", type=Path, help="folder for everything that is made")
    parser.add_argument("--anatomies", type=int, default=None, help="the first so many anatomies only")
    parser.add_argument("--slice-distance", type=float, default=6.0, help="mm between the slices of painted CTs")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    names = json.loads(SPLIT.read_text())["validation"][: arguments.anatomies]
    maps = [option for name in names for option in ("--labels", str(arguments.labels.resolve() / f"{name}.nii.gz"))]
    distance = ("--slice-distance", str(arguments.slice_distance))
    painting = ("--hard", "all", "--labelled", str(len(names)), "--seed", str(SEED))
    flarekit(out, "phantom", "painted", *painting, *distance, *maps)
    for kind in KINDS:
        flarekit(out, "segment", f"painted/{kind}/labelled/images", "-o", f"masks/{kind}")
    evaluation = ("evaluate", "confidence", *(f"masks/{kind}" for kind in KINDS), "painted/easy/labelled/labels")
    report = flarekit(out, *evaluation, "--plot", "confidence.png", "--csv", "confidence.csv", "--overwrite", "--json")
    (out / "confidence.json").write_text(report)
    print(flarekit(out, *evaluation))


def flarekit(folder: Path, *arguments: str) -> str:
    """What the command prints, run in that folder. Ends the program where it fails."""
    print("flarekit", *arguments[:4], file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "flarekit", *arguments]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"`flarekit {' '.join(arguments)}` ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
