"""Makes the starter weights: paints, trains a pair for every seed and the STCN, scores and publishes them.

    python examples/starter/starter.py --labels LABELS --out OUT [--cts CT ...] [--score CT LABELS] [--plan]

LABELS is the folder of FLARE22's 50 label maps; split.json says which are trained on, tuned on and scored. It goes on
where it was stopped: run the same line again. With --budget-minutes it stops by itself, between steps or within one,
and says what is left. README.md tells more.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from pieces import STOP_S, Clock, Ledger, OutOfTime, Step, run
from recipe import Recipe, Stage
from scores import markdown

from flarekit.config.run import RunSettings, Stores
from flarekit.errors import FlarekitError, UsageError
from flarekit.files import write_json

HERE = Path(__file__).parent
SPLIT = json.loads((HERE / "split.json").read_text(encoding="utf-8"))
TRAIN = (*SPLIT["labelled"], *SPLIT["unlabelled"])
PAIR, STCN = "starter-reference", "starter-propagation"
UNFINISHED = 75  # the exit code for "try again" of sysexits.h
EVERY = "5,10,20"  # slices between annotated ones that propagation is scored at
PACKAGED_PAIR, PACKAGED_STCN = f"{PAIR}@1", f"{STCN}@1"
LICENCE = "CC BY-SA 4.0, research use; see LICENSE-weights"
NOTES = (
    "Trained on painted CTs whose HU are drawn anew for every sample{real}. Not a medical device. Anatomy: FLARE22, "
    "built on the Medical Segmentation Decathlon (pancreas). Not affiliated with either."
)


@dataclass(frozen=True, kw_only=True)
class Study:
    """The folder of everything that is made, and what fills it."""

    recipe: Recipe
    labels: Path | None  # folder of label maps; needed for painting alone
    out: Path
    cts: tuple[Path, ...]  # real CTs without labels, for the unlabelled side
    credits: tuple[str, ...]  # where they are from, for the cards
    score: tuple[Path, Path] | None  # a real CT and its label map, looked at when all is trained
    device: str
    workers: int  # processes that paint and load
    from_packaged: bool  # start the first pair and the STCN from the weights in the package
    clock: Clock

    def steps(self) -> list[Step]:
        """Everything there is to do, in order."""
        paint, minutes = self.recipe.paint, self.recipe.paint["minutes"] / 5
        train = [
            Step(name=f"train-{name}-{stage.name}", minutes=stage.minutes, work=partial(self.train, name, number))
            for name, parts in self.runs().items()
            for number, stage in enumerate(parts)
        ]
        real = [Step(name="preprocess", minutes=1, work=self.preprocess)] if self.cts else []
        score = [Step(name="score-real", minutes=5, work=self.score_real)] if self.score else []
        return [
            Step(name="paint-training", minutes=3 * minutes, work=partial(self.tissues, "train", TRAIN, 0)),
            Step(name="paint-synthetic", minutes=minutes, work=partial(self.tissues, "synthetic", (), 1000)),
            Step(name="paint-unlabelled", minutes=minutes / 2, work=partial(self.tissues, "unlabelled", TRAIN, 500)),
            Step(
                name="paint-validation", minutes=minutes / 2,
                work=partial(self.tissues, "validation", SPLIT["validation"], 2000),
            ),
            *real, *train,
            Step(name="publish", minutes=0.1, work=self.publish),
            Step(name="paint-test", minutes=2.0 * paint["test"] / 10, work=self.paint_test),
            Step(name="score-test", minutes=3.0 * paint["test"], work=self.score_test),
            *score,
            Step(name="report", minutes=0.1, work=self.report),
        ]  # fmt: skip

    def require_same(self) -> None:
        """Keep what OUT is made by, at the first call. Raises UsageError where a later call asks for something else."""
        from flarekit.data.digest import digest

        asked = {
            "recipe": asdict(self.recipe),
            "cts": {ct.name: digest(ct) for ct in self.cts},
            "credits": list(self.credits),
            "init": self.from_packaged,
        }
        asked, path = json.loads(json.dumps(asked, default=str)), self.out / "study.json"
        if not path.is_file():
            write_json(path, asked)
        elif changed := [name for name, value in json.loads(path.read_text()).items() if asked[name] != value]:
            raise UsageError(
                f"{self.out.name} was begun with another {', '.join(changed)}",
                remedy="Repeat the first line's --recipe, --cts, --credit and --init, or choose another --out.",
            )

    def runs(self) -> dict[str, tuple[Stage, ...]]:
        """The stages of every network that is published, by its name."""
        names = [PAIR, *(f"{PAIR}-{number}" for number in range(2, len(self.recipe.seeds) + 1))]
        return {name: self.recipe.pair for name in names} | {STCN: self.recipe.stcn}

    def tissues(self, part: str, maps: Sequence[str], seed: int) -> None:
        """A store of tissues, compressed as h5py reads it alone."""
        paint = self.recipe.paint
        arguments = ["--tissues", "--labelled", paint[part], "--compression", "gzip", *paint["options"]]
        self.flarekit("phantom", f"stores/{part}", *self._maps(maps), *arguments, "--seed", seed, workers=True)

    def preprocess(self) -> None:
        """The real CTs as a store without labels."""
        self._refuse_scored()
        for ct in self.cts:
            self.flarekit("preprocess", ct, "-o", "stores/real", "--compression", "gzip")

    def train(self, name: str, number: int) -> None:
        """A stage of a run, from the weights of the stage before it."""
        from flarekit.checkpoints import Registry
        from flarekit.models.device import resolve_device
        from flarekit.training.runs import train

        parts, packaged = self.runs()[name], {PAIR: PACKAGED_PAIR, STCN: PACKAGED_STCN}.get(name)
        init = f"{name}-{parts[number - 1].name}@1" if number else packaged if self.from_packaged else None
        config, run = parts[number].config, f"{name}-{parts[number].name}"
        settings = RunSettings(
            name=run,
            arch=self.recipe.arch,
            init=init,
            runs=self.out / "runs",
            device=self.device,
            stores=self.stores(name),
        )
        loop = replace(
            config.loop, seed=100 * self._seed(name) + number, workers=self.workers if self.device != "cpu" else None
        )
        resume = (self.out / "runs" / run / "config.toml").is_file()
        with self.clock.interrupting():
            train(
                settings, replace(config, loop=loop), Registry.default(),
                device=resolve_device(self.device), resume=resume,
            )  # fmt: skip

    def stores(self, name: str) -> Stores:
        """What a run learns from and is judged on."""
        folder = self.out / "stores"
        unlabelled = (folder / "unlabelled", *((folder / "real",) if self.cts else ()))
        return Stores(
            labelled=(folder / "train", folder / "synthetic"),
            unlabelled=() if name == STCN else unlabelled,
            validation=folder / "validation",
        )

    def publish(self) -> None:
        """The last stage of every run as float16 in OUT/published, with where it comes from on its card."""
        from flarekit.checkpoints import Provenance, Registry

        trained, target = (
            Registry.default(),
            Registry(self.out / "published" / "checkpoints", packaged=self.out / "none"),
        )
        for name, parts in self.runs().items():
            loaded = trained.load(f"{name}-{parts[-1].name}@1")
            data = ["CTs painted by `flarekit phantom` on 35 label maps of FLARE22's training set (split.json)"]
            data += ["CTs painted on synthetic anatomy"]
            real = () if name == STCN else self.credits or tuple(ct.name for ct in self.cts)
            data += [f"real CTs without labels: {credit}" for credit in real]
            provenance = Provenance(
                initialisation=(PACKAGED_PAIR if name == PAIR else PACKAGED_STCN)
                if self._continues(name)
                else "random",
                data=tuple(data),
                pretrained_or_extra_data=True,  # what --challenge refuses
                licence=LICENCE,
                notes=NOTES.format(real=" and on real CTs without labels" if real else " alone"),
            )
            card = replace(loaded.card, name=name, provenance=provenance)
            print(f"published {target.publish(card, loaded.networks, half=True).reference}", flush=True)

    def paint_test(self) -> None:
        """The CTs of test_set.sh."""
        paint = self.recipe.paint
        arguments = ["--labelled", paint["test"], *paint["test_options"]]
        self.flarekit("phantom", "test", *self._maps(SPLIT["test"]), *arguments, workers=True)

    def score_test(self) -> None:
        """Dice and NSD of `segment` on the test cases, with and without propagation, and of propagation alone."""
        images, truth = Path("test/labelled/images"), "test/labelled/labels"
        for folder, options in (("full", ()), ("reference", ("--no-propagation",))):
            self.segment(images, f"masks/{folder}", *options)
            self.score_masks(f"test, {folder}", f"masks/{folder}", truth)
        self.score_propagation("test, propagation", images, truth, "--offsets", 1)

    def score_real(self) -> None:
        """The same of the real CT: of the organs that its label map has."""
        assert self.score is not None
        self._refuse_scored()
        ct, truth = self.score
        for folder, options in (("full", ()), ("reference", ("--no-propagation",))):
            mask = f"masks/real_{folder}.nii.gz"
            if not (self.out / mask).is_file():
                self.segment(ct, mask, *options)
            self.score_masks(f"real, {folder}", mask, truth, "--organs", ",".join(_organs_of(truth)))
        self.score_propagation("real, propagation", ct, truth)

    def segment(self, images: Path, masks: str, *options: str) -> None:
        """Masks by the published weights, of those CTs that have none yet."""
        models = ("--model", PAIR, "--propagation-model", STCN, "--device", self.device)
        self.flarekit("segment", images, "-o", masks, *models, *options, published=True)

    def score_masks(self, title: str, masks: str, truth: Path | str, *options: str) -> None:
        """Scores of masks, kept as JSON."""
        self.flarekit("evaluate", "masks", masks, truth, *options, keep=title)

    def score_propagation(self, title: str, ct: Path, truth: Path | str, *options: object) -> None:
        """Scores of propagation between annotated slices, kept as JSON."""
        models = ("--model", STCN, "--device", self.device, "--every", EVERY)
        self.flarekit("evaluate", "propagation", ct, truth, *models, *options, keep=title, published=True)

    def report(self) -> None:
        """Every score as results.md."""
        parts = [
            markdown(path.stem.replace("_", ", "), json.loads(path.read_text()))
            for path in sorted(self.out.glob("scores/*.json"))
        ]
        (self.out / "results.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        print(f"wrote {self.out / 'results.md'}", flush=True)

    def flarekit(
        self, *arguments: object, keep: str | None = None, workers: bool = False, published: bool = False
    ) -> None:
        """Run a command in OUT, with `--json`; `keep` names the file of its answer, which is not asked for twice.

        `published`: the models are those of OUT/published. Raises OutOfTime, and UsageError when the command fails.
        """
        answer = None if keep is None else self.out / "scores" / f"{keep.replace(', ', '_')}.json"
        if answer is not None and answer.is_file():
            return
        command = [sys.executable, "-m", "flarekit", *map(str, arguments), "--json"]
        command += ["--workers", str(self.workers)] if workers else []
        home = self.out / ("published" if published else "home")
        process = subprocess.Popen(
            command,
            cwd=self.out,
            env=os.environ | {"FLAREKIT_HOME": str(home)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that what it starts can be stopped with it
        )
        found = self._wait(process)
        if process.returncode:
            raise UsageError(f"`flarekit {' '.join(map(str, arguments[:3]))}` ended with {process.returncode}")
        if answer is not None:
            write_json(answer, json.loads(found), overwrite=True)

    def _wait(self, process: subprocess.Popen[str]) -> str:
        """What a command writes. When the budget ends, or at Ctrl-C, it is stopped with all that it has started.

        What it finished stays. Raises OutOfTime.
        """
        left = self.clock.left_s
        try:
            return process.communicate(timeout=None if left is None else max(left - STOP_S, 0))[0]
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as stop:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate()
            if isinstance(stop, KeyboardInterrupt):
                raise
            raise OutOfTime from None

    def _maps(self, names: Sequence[str]) -> list[object]:
        if not names:
            return []
        if self.labels is None:
            raise UsageError("label maps are needed to paint on", remedy="Name their folder with --labels.")
        return [option for name in names for option in ("--labels", self.labels / f"{name}.nii.gz")]

    def _refuse_scored(self) -> None:
        """Raises UsageError when the CT that is scored would be learned from."""
        from flarekit.data.digest import digest

        files = [file for ct in self.cts if ct.is_dir() for file in ct.rglob("*") if file.is_file()]
        if self.score is not None and digest(self.score[0]) in {digest(path) for path in (*self.cts, *files)}:
            raise UsageError(f"{self.score[0].name} is scored", remedy="Leave it out of --cts.")

    def _seed(self, name: str) -> int:
        pairs = [each for each in self.runs() if each != STCN]
        return self.recipe.seeds[pairs.index(name)] if name in pairs else 0

    def _continues(self, name: str) -> bool:
        return self.from_packaged and name in (PAIR, STCN)


def _organs_of(label_map: Path) -> list[str]:
    """The organs of FLARE22 that a label map has voxels of."""
    import numpy as np

    from flarekit.labels import FLARE22
    from flarekit.volumes import read_labels

    found = np.unique(FLARE22.to_classes(read_labels(label_map).array, where=label_map))
    return [name for index, name in enumerate(FLARE22.names, start=1) if index in found]


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for everything that is made")
    add("--labels", type=Path, help="folder of the label maps that split.json names; not needed once painted")
    add("--cts", type=Path, action="append", default=[], help="a real CT without labels to learn from; repeatable")
    add("--credit", action="append", default=[], help="where they are from and under which licence; repeatable")
    add("--score", type=Path, nargs=2, metavar=("CT", "MASK"), help="a real CT and its label map, to score in the end")
    add("--recipe", type=Path, default=HERE / "recipe.toml", help="what is trained, and for how long")
    add("--init", action="store_true", help="start the first pair and the STCN from the weights in the package")
    add("--budget-minutes", type=float, help="stop after so long; the next call goes on")
    add("--device", default="cpu", help="where to train: cpu, cuda")
    add("--workers", type=int, default=2, help="processes that paint, and beside a GPU also load slices")
    add("--until", help="stop before this step: paint-test, where volumes cannot be read")
    add("--plan", action="store_true", help="print the steps with their times, and do nothing")
    return parser.parse_args(argv)


def study_of(asked: argparse.Namespace) -> Study:
    """What the command line asks to be made. Raises InputError on a recipe that is none."""
    return Study(
        recipe=Recipe.read(asked.recipe),
        labels=asked.labels and asked.labels.resolve(),
        out=asked.out.resolve(),
        cts=tuple(ct.resolve() for ct in asked.cts),
        credits=tuple(asked.credit),
        score=asked.score and tuple(path.resolve() for path in asked.score),
        device=asked.device,
        workers=asked.workers,
        from_packaged=asked.init,
        clock=Clock(None if asked.budget_minutes is None else 60 * asked.budget_minutes),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all is done, 75 when the budget ended before; the code of the error otherwise."""
    asked = arguments_of(argv)
    try:
        study = study_of(asked)
        steps = until(study.steps(), asked.until)
        ledger = Ledger(study.out / "steps.json")
        finished = asked.plan or _make(study, steps, ledger)
        print(ledger.plan(steps), flush=True)
    except FlarekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0 if finished else UNFINISHED


def _make(study: Study, steps: Sequence[Step], ledger: Ledger) -> bool:
    study.out.mkdir(parents=True, exist_ok=True)
    study.require_same()
    os.environ["FLAREKIT_HOME"] = str(study.out / "home")  # where the checkpoints of all stages lie
    return run(steps, ledger, study.clock)


def until(steps: list[Step], name: str | None) -> list[Step]:
    """The steps before the one of that name. Raises UsageError where there is none."""
    names = [step.name for step in steps]
    if name is not None and name not in names:
        raise UsageError(f"no step is called {name!r}", remedy=f"One of {', '.join(names)}.")
    return steps if name is None else steps[: names.index(name)]


if __name__ == "__main__":
    sys.exit(main())
