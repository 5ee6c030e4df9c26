"""An ablation on tiny networks and painted volumes: rows that share steps, kills, tables, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from segmentation_doubles import publish_tiny
from training_setup import TINY, TINY_GRID
from training_stores import ORGANS, SPACING_MM, blobs, paint

from flarekit.ablation import RowScores, names
from flarekit.ablation.report import gain, to_markdown
from flarekit.checkpoints import Registry
from flarekit.config import toml
from flarekit.config.ablation import PAPER_ROWS, AblationRow, read_ablation
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.preprocessing import PREPROCESSING
from flarekit.config.reference import SelectionConfig
from flarekit.config.segment import SegmentConfig
from flarekit.errors import InputError
from flarekit.evaluation.dice import CaseScores
from flarekit.evaluation.rules import ScoringRules
from flarekit.training import runs

SHAPE = (6, 48, 56)
LOOP = {"iterations": 1, "validate_every": 1, "validation_stride": 3, "save_every": 1}
TRAINING = {"loop": LOOP, "crop": 32, "augmentation": "none", "labelled_batch": 2, "unlabelled_batch": 1}
ROWS = [
    {"name": "supervised", "cps": False, "windows": "none"},
    {"name": "CPS"},
    {"name": "CPS and propagation", "propagation": True},
    {"name": "one reference an organ", "propagation": True, "segment": {"selection": {"slices_per_organ": 1}}},
    {"name": "pseudo-labels", "pseudo_labels": True},
]


@dataclass(frozen=True)
class Bench:
    """A data set of painted volumes with its stores, and the configuration of an ablation of it."""

    folder: Path

    def write(self, rows: list[dict] | None = None, **changes: object) -> Path:
        """The configuration as a file."""
        at = str(self.folder)
        config = {
            "arch": "tiny",
            "device": "cpu",
            "models": 2,
            "tolerance": "2",
            "data": {
                "labelled": [f"{at}/stores/labelled"],
                "unlabelled": [f"{at}/stores/unlabelled"],
                "unlabelled_images": [f"{at}/unlabelled/images"],
                "validation": f"{at}/stores/validation",
                "images": f"{at}/test/images",
                "labels": f"{at}/test/labels",
            },
            "training": TRAINING,
            "stcn": {"loop": LOOP, "crop": 32, "augmentation": "none", "clips": 2},
            "consensus": {"threshold": 0.0},
        } | changes
        text = toml.dumps(config)
        for row in rows or []:
            text += f"\n\n[[rows]]\n{toml.dumps(row, prefix='rows.')}"
        path = self.folder / "ablate.toml"
        path.write_text(text + "\n")
        return path


def write_part(folder: Path, cases: int, seed: int, *, labelled: bool = True) -> None:
    """Painted CTs in FLARE22's layout."""
    for index in range(cases):
        rng = np.random.default_rng((seed, index))
        classes = blobs(SHAPE, rng)
        affine = np.diag([-SPACING_MM[2], -SPACING_MM[1], SPACING_MM[0], 1.0])
        for kind, array in (("images", paint(classes, rng)), ("labels", ORGANS.to_ids(classes))):
            name = f"p{seed}{index}{'_0000' if kind == 'images' else ''}.nii.gz"
            if kind == "images" or labelled:
                (folder / kind).mkdir(parents=True, exist_ok=True)
                nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine), folder / kind / name)
    ids = {"background": 0, **dict(zip(ORGANS.names, ORGANS.ids, strict=True))}
    (folder / "dataset.json").write_text(json.dumps({"name": "test", "labels": ids, "pairs": ORGANS.pairs}))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli) -> Iterator[Bench]:
    """Two labelled, two unlabelled, one validation and two test cases, and the architecture `tiny`."""
    monkeypatch.setattr(runs, "draw_curves", lambda *_: None)
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    monkeypatch.setitem(PREPROCESSING, "tiny", TINY_GRID)
    for seed, (part, cases) in enumerate((("labelled", 2), ("unlabelled", 2), ("validation", 1), ("test", 2))):
        write_part(tmp_path / part, cases, seed, labelled=part != "unlabelled")
        if part != "test":
            assert run_cli("preprocess", tmp_path / part, "-o", tmp_path / "stores" / part).code == 0
    yield Bench(tmp_path)


def test_rows_share_what_is_the_same_and_a_second_run_does_nothing_anew(bench: Bench, run_cli, monkeypatch) -> None:
    config, out = bench.write(ROWS), bench.folder / "out"
    outcome = run_cli("ablate", config, "-o", out, "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert [row["name"] for row in report["rows"]] == [row["name"] for row in ROWS]
    assert all(len(row["cases"]) == 2 and row["nsd"]["mean"] is not None for row in report["rows"])
    parts = [[row[p] for p in ("cps", "windows", "pseudo_labels", "propagation")] for row in report["rows"]]
    assert parts[0] == [False, "none", False, False] and parts[1] == [True, "paper", False, False]
    assert parts[3] == [True, "paper", False, True] and parts[4] == [True, "paper", True, False]
    pairs = [row["checkpoints"][0] for row in report["rows"]]
    assert pairs[1] == pairs[2] == pairs[3] and len(set(pairs)) == 3
    # The supervised pair, CPS with two seeds, the student of their pseudo-labels, and one propagation network.
    assert len(list((out / "runs").iterdir())) == 5 and len(list((out / "masks").iterdir())) == 5
    student = Registry.default().card(pairs[4])
    assert set(student.parents) >= {pairs[1]} and student.preprocessing.windows.name == "paper"
    assert Registry.default().card(pairs[0]).preprocessing.windows.name == "none"
    assert Registry.default().card(pairs[0]).training["training"]["unlabelled_batch"] == 0
    monkeypatch.setattr("flarekit.ablation.steps.segment", None)
    monkeypatch.setattr("flarekit.ablation.scores.score_pairs", None)
    assert json.loads(run_cli("ablate", config, "-o", out, "--json").stdout) == report


def test_a_killed_run_goes_on_where_it_was(bench: Bench, run_cli, monkeypatch) -> None:
    config, out = bench.write(ROWS[:2]), bench.folder / "out"
    from flarekit.ablation import steps

    written, write = [], steps.write_labels

    def dies_after_three(path: Path, volume: object, **options: bool) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        write(path, volume, **options)

    monkeypatch.setattr(steps, "write_labels", dies_after_three)
    assert run_cli("ablate", config, "-o", out).code == 130
    table = (out / "ablation.md").read_text()
    assert "| supervised |  | none |" in table and "| CPS | yes |" not in table
    times = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.setattr(steps, "write_labels", write)
    outcome = run_cli("ablate", config, "-o", out)
    assert outcome.code == 0, outcome.stderr
    assert "1 of 2 masks to make" in outcome.stderr and "already finished" in outcome.stderr
    assert {path: path.stat().st_mtime_ns for path in written} == times
    assert "| CPS | yes |" in (out / "ablation.md").read_text()


def test_another_setting_is_another_step(bench: Bench) -> None:
    def name(**training: object) -> str:
        config = read_ablation(bench.write(training=TRAINING | training))
        return names.pair_name("a", config, config.rows[0], seed=3)

    assert name() == name() == name(loop=LOOP | {"save_every": 7, "workers": 2})
    assert name().startswith("a-supervised-none-3-")
    assert len({name(), name(optimiser={"lr": 1e-5}), name(loop=LOOP | {"iterations": 9})}) == 3
    sparse = replace(SegmentConfig(), selection=SelectionConfig(slices_per_organ=1))
    assert names.masks_name("a@1", "b@1", SegmentConfig()) != names.masks_name("a@1", "b@1", sparse)
    assert names.masks_name("a@1", None, SegmentConfig()) == names.masks_name("a@1", None, sparse)


def test_slices_with_pseudo_labels_are_of_the_student_alone(bench: Bench) -> None:
    plain, apart = (read_ablation(bench.write(training=TRAINING | more)) for more in ({}, {"pseudo_batch": 1}))
    supervised, cps = AblationRow(name="labels", cps=False), AblationRow(name="CPS", pseudo_labels=True)
    for row in (supervised, cps):  # a pair without pseudo-labels is what it was
        assert names.pair_name("a", apart, row, 3) == names.pair_name("a", plain, row, 3)
    assert names.student_training(apart, cps, 3).pseudo_batch == 1
    assert names.student_name("a", apart, cps, "masks") != names.student_name("a", plain, cps, "masks")
    assert names.student_training(apart, supervised, 3).pseudo_batch is None  # it has no unlabelled slices


def test_a_setting_that_a_later_flarekit_adds_changes_no_name(bench: Bench, monkeypatch) -> None:
    config = read_ablation(bench.write())

    def given() -> tuple[str, ...]:
        pair, masks = names.pair_name("a", config, config.rows[0], 0), names.masks_name("a@1", "b@1", SegmentConfig())
        return pair, masks, names.stcn_name("a", config), names.labels_name(config, config.rows[3], ("a@1",))

    before, plain = given(), toml.to_dict
    monkeypatch.setattr(names.toml, "to_dict", lambda config: plain(config) | {"later": [1, 2]})
    assert given() == before


def test_a_propagation_network_can_be_named(bench: Bench, run_cli) -> None:
    publish_tiny("carrier", kind="propagation")
    rows = [{"name": "propagated", "cps": False, "propagation": True}]
    outcome = run_cli("ablate", bench.write(rows, propagation_model="carrier"), "-o", bench.folder / "out", "--json")
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["rows"][0]["checkpoints"][1] == "carrier@1"


def test_rows_of_checkpoints_that_are_there_need_no_training(bench: Bench, run_cli) -> None:
    publish_tiny("pair", labels=ORGANS)
    publish_tiny("carrier", kind="propagation", labels=ORGANS)
    (bench.folder / "test.json").write_text(
        json.dumps({"labels": {"background": 0, "left_blob": 1, "right_blob": 2, "bar": 5}, "labelled_organs": ["bar"]})
    )
    data = {"images": bench.folder / "test/images", "labels": bench.folder / "test/labels"}
    data = {name: str(path) for name, path in (data | {"dataset": bench.folder / "test.json"}).items()}
    sparse = {"name": "sparse", "model": "pair", "propagation": True, "segment": {"sampling": {"every": 3}}}
    rows = [{"name": "every slice", "model": "pair"}, sparse]
    outcome = run_cli("ablate", bench.write(rows, data=data, propagation_model="carrier"), "-o", bench.folder / "out")
    assert outcome.code == 0, outcome.stderr
    report = json.loads((bench.folder / "out" / "ablation.json").read_text())
    assert [row["checkpoints"] for row in report["rows"]] == [["pair@1"], ["pair@1", "carrier@1"]]
    assert report["rows"][1]["segment"]["sampling"]["every"] == 3 and report["rows"][0]["segment"] is None
    assert list(report["rows"][0]["organs"]) == ["bar"] and report["rows"][0]["seconds_a_case"] > 0
    assert not (bench.folder / "out" / "runs").exists()
    publish_tiny("stranger")
    strange = bench.write([rows[0], {"name": "strange", "model": "stranger"}], data=data)
    assert "segment other organs" in run_cli("ablate", strange, "-o", bench.folder / "out").stderr


def test_files_of_a_stopped_run_that_are_lost_are_made_again_and_damaged_ones_named(bench: Bench, run_cli) -> None:
    publish_tiny("pair", labels=ORGANS)
    data = {name: str(bench.folder / "test" / name) for name in ("images", "labels")}
    config, out = bench.write([{"name": "every slice", "model": "pair"}], data=data), bench.folder / "out"
    assert run_cli("ablate", config, "-o", out).code == 0
    table = (out / "ablation.md").read_text()
    (masks,) = (out / "masks").iterdir()
    for file in (masks / "p30.json", masks / "scores.json", out / "cases.json"):
        for text in ("{", "[]", *(['{"seconds": null}'] if file.name == "p30.json" else [])):
            file.write_text(text)
            outcome = run_cli("ablate", config, "-o", out)
            assert outcome.code == 3 and f"{file.name}: is damaged" in outcome.stderr, text
            assert outcome.stderr.count("\n") == 1
        file.unlink()
        assert run_cli("ablate", config, "-o", out).code == 0
    assert len((out / "ablation.md").read_text().splitlines()) == len(table.splitlines())


def test_what_cannot_work_is_refused_before_training(bench: Bench, run_cli) -> None:
    out = bench.folder / "out"
    for settings, message in (
        ({"arch": "huge"}, "arch is one of"),
        ({"models": 1}, "models is at least 2"),
        ({"epochs": 3}, "epochs"),
        ({"training": {"augmentation": "wild"}}, "augmentation is one of"),
        ({"propagation_model": "nowhere"}, "unknown checkpoint"),
        ({"tolerance": "far"}, "no tolerance"),
    ):
        outcome = run_cli("ablate", bench.write(ROWS, **settings), "-o", out)
        assert outcome.code in (2, 3, 5) and message in outcome.stderr, message
        assert outcome.stderr.count("\n") == 1
    twice = run_cli("ablate", bench.write([ROWS[0], ROWS[0]]), "-o", out)
    assert twice.code == 3 and "a name each" in twice.stderr
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4)), bench.folder / "test/labels/p30.nii.gz")
    assert "different shapes" in run_cli("ablate", bench.write(ROWS), "-o", out).stderr
    assert not (out / "runs").exists()


def test_a_test_case_that_is_learned_from_is_refused_before_training(bench: Bench, run_cli) -> None:
    image = bench.folder / "unlabelled/images/p10_0000.nii.gz"
    (bench.folder / "test/images/p30_0000.nii.gz").write_bytes(image.read_bytes())
    outcome = run_cli("ablate", bench.write(ROWS), "-o", bench.folder / "out")
    assert outcome.code == 3 and "stores/unlabelled: holds the test case 'p30'" in outcome.stderr
    assert outcome.stderr.count("\n") == 1 and not (bench.folder / "out/runs").exists()


def test_a_test_case_that_changed_is_refused(bench: Bench, run_cli) -> None:
    config, out = bench.write(ROWS[:1]), bench.folder / "out"
    assert run_cli("ablate", config, "-o", out).code == 0
    write_part(bench.folder / "test", 1, 7)
    (bench.folder / "test/labels/p70.nii.gz").replace(bench.folder / "test/labels/p30.nii.gz")
    (bench.folder / "test/images/p70_0000.nii.gz").unlink()
    outcome = run_cli("ablate", config, "-o", out)
    assert outcome.code == 3 and "is not the case 'p30'" in outcome.stderr


def test_the_rows_of_the_paper_are_there_without_any(bench: Bench) -> None:
    config = read_ablation(bench.write())
    assert config.rows == PAPER_ROWS
    assert [(row.cps, row.windows, row.pseudo_labels, row.propagation) for row in config.rows] == [
        (False, "none", False, False),
        (True, "none", False, False),
        (True, "paper", False, False),
        (True, "paper", True, False),
        (True, "paper", True, True),
    ]


def test_rows_need_the_cases_they_learn_from(bench: Bench) -> None:
    data = toml.to_dict(read_ablation(bench.write()))["data"]
    for missing in ("unlabelled", "unlabelled_images"):
        with pytest.raises(InputError, match=f"needs data.{missing}"):
            read_ablation(bench.write(data={**data, missing: []}))


def test_one_labelled_slice_a_batch_is_too_few_for_a_row_of_labels_alone(bench: Bench) -> None:
    with pytest.raises(InputError, match="row 'supervised' learns from labels alone: .* two slices a batch"):
        read_ablation(bench.write(training={**TRAINING, "labelled_batch": 1}))


def test_gains_are_paired_over_cases_and_stand_in_the_table() -> None:
    rules, cases, card = ScoringRules(tolerance_mm={"liver": 5.0}), ("a", "b", "c"), publish_tiny("pair")
    first = [CaseScores(case=name, dice={"liver": 0.1 * n}, nsd={"liver": 0.5}) for n, name in enumerate(cases)]
    better = [replace(scores, dice={"liver": scores.dice["liver"] + 0.2}) for scores in first]
    rows = [
        RowScores(row=AblationRow(name=name), reference=card, propagation=None, scores=tuple(scores), seconds=1.25)
        for name, scores in (("plain", first), ("more", better))
    ]
    estimate = gain(rows[1], rows[0])
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((0.2, 0.2, 0.2))
    lines = to_markdown(rows, rules).splitlines()
    assert lines[3] == "| more |  | paper |  |  | 0.300 ± 0.100 | 0.500 ± 0.000 | +0.200 (+0.200 to +0.200) | 1.25 |"
    assert lines[5:8] == ["| Dice | plain | more |", "| --- | --- | --- |", "| liver | 0.100 ± 0.100 | 0.300 ± 0.100 |"]


def test_a_card_that_says_little_of_its_training_stands_in_the_table() -> None:
    card = replace(publish_tiny("old"), training={"training": {"unlabelled_batch": 2}, "stores": ["a", "b"]})
    scores = (CaseScores(case="a", dice={"liver": 0.5}),)
    done = RowScores(row=AblationRow(name="old"), reference=card, propagation=None, scores=scores, seconds=0.5)
    assert done.parts == {"cps": True, "windows": "paper", "pseudo_labels": False, "propagation": False}
    assert "| old | yes | paper |  |  | 0.500 | - |  | 0.5 |" in to_markdown([done], ScoringRules())


def test_the_examples_are_read() -> None:
    examples = Path(__file__).parent.parent / "examples"
    assert read_ablation(examples / "ablate.toml").rows[: len(PAPER_ROWS)] == PAPER_ROWS
    assert not read_ablation(examples / "ablate_references.toml").trains
