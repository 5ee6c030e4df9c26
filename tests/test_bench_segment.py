"""`flarekit bench segment`: areas by hand, processes that burn a known amount, a driver that counts, broken cases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from segmentation_doubles import painted_ct, publish_tiny

from flarekit.bench import gpu_memory, sampling, segment
from flarekit.bench.efficiency import Areas, CaseCost, summed
from flarekit.bench.gpu_memory import Card, place_of
from flarekit.bench.sampling import Sample, run_sampled
from flarekit.bench.segment import painted_ct as painted_of_shape
from flarekit.volumes import write_volume

BURN = "import time\nwhile time.process_time() < 0.3: pass"


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def a_sample(**changes: float) -> Sample:
    values = {"span_s": 0.1, "cpu_percent": 50.0, "machine_percent": 80.0, "ram_mb": 10.0, "gpu_mb": None}
    return Sample(time_s=1.0, **values | changes)


def test_areas_are_worked_by_hand() -> None:
    samples = [
        a_sample(gpu_mb=2000.0),
        a_sample(gpu_mb=2548.0, ram_mb=700.0, cpu_percent=100.0),
        a_sample(gpu_mb=400.0, span_s=0.2),
    ]
    taken = Areas.under(samples, cores=4)
    assert taken.gpu_mb_s == pytest.approx(200.0 + 254.8 + 80.0)
    assert taken.gpu_above_mb_s == pytest.approx(500.0 * 0.1)
    assert taken.cpu_percent_s == pytest.approx(5.0 + 10.0 + 10.0)
    assert taken.cpu_s == pytest.approx(0.25 * 4)
    assert taken.machine_percent_s == pytest.approx(80.0 * 0.4)
    assert (taken.peak_gpu_mb, taken.peak_ram_mb) == (2548.0, 700.0)


def test_memory_that_nothing_tells_is_none_and_not_zero() -> None:
    taken = Areas.under([a_sample(), a_sample()], cores=2)
    assert (taken.gpu_mb_s, taken.gpu_above_mb_s, taken.peak_gpu_mb) == (None, None, None)


def test_a_failed_case_is_not_in_the_sum() -> None:
    small, large, lost = (Areas.under([a_sample(ram_mb=mb, span_s=0.2)], cores=2) for mb in (800.0, 900.0, 5000.0))
    costs = [
        CaseCost(name="a", run_s=3.0, loading_s=1.0, areas=large, sampling_share=0.01),
        CaseCost(name="b", run_s=4.0, loading_s=1.5, areas=small, sampling_share=0.01),
        CaseCost(name="c", run_s=9.0, error="broken", areas=lost, sampling_share=0.01),
    ]
    total = summed(costs)
    assert (total["cases"], total["failed"]) == (2, 1)
    assert (total["run_s"], total["loading_s"], total["cpu_percent_s"]) == (7.0, 2.5, 20.0)
    assert total["peak_ram_mb"] == 900.0 and total["gpu_mb_s"] is None
    assert summed(costs[2:])["run_s"] is None


def test_the_area_under_the_cpu_is_the_time_that_the_process_and_its_children_used() -> None:
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', {BURN!r}])\n{BURN}"
    run = run_sampled(python(child))
    assert run.code == 0 and 0 < run.sampling_share < 1
    cpu_s = Areas.under(run.samples, os.cpu_count() or 1).cpu_s
    assert 0.6 <= cpu_s < 1.5
    assert sum(sample.span_s for sample in run.samples) == pytest.approx(run.elapsed_s)
    assert run.samples[-1].time_s == run.elapsed_s


def test_memory_of_a_child_counts() -> None:
    hold = "held = bytearray(150 << 20)\nimport time\ntime.sleep(2)"
    run = run_sampled(python(f"import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', {hold!r}])"))
    assert 150 < Areas.under(run.samples, 1).peak_ram_mb < 300


def test_samples_lie_a_tenth_of_a_second_apart_and_ask_the_card_each_time() -> None:
    asked = iter(range(1000))
    run = run_sampled(python("import time\ntime.sleep(1)"), lambda: float(next(asked)), interval_s=0.1)
    *regular, last = run.samples
    assert run.gpu_before_mb == 0.0
    assert [sample.gpu_mb for sample in regular] == [float(n) for n in range(1, len(regular) + 1)]
    assert last.gpu_mb == regular[-1].gpu_mb
    late_s = [sample.time_s % 0.1 for sample in regular]
    assert sorted(late_s)[len(late_s) // 2] < 0.05  # the machine may be busy


def test_what_the_process_says_and_how_it_ends_come_back() -> None:
    run = run_sampled(python("import sys\nprint('out')\nprint('error: no', file=sys.stderr)\nsys.exit(3)"))
    assert (run.code, run.stdout, run.stderr) == (3, "out\n", "error: no\n")
    assert run_sampled(python("import os\nos.kill(os.getpid(), 9)")).code == -9


def test_a_process_that_ends_before_it_is_looked_at_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    end_of = sampling._end_of

    def late(process: subprocess.Popen[bytes]) -> threading.Event:
        ended = end_of(process)
        assert ended.wait(20)
        return ended

    monkeypatch.setattr(sampling, "_end_of", late)
    run = run_sampled(python("import sys\nsys.exit(3)"))
    assert run.code == 3 and len(run.samples) == 1 and run.samples[0].cpu_percent > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_reaches_the_process_which_is_waited_for(tmp_path: Path, number: int) -> None:
    ready, tidied = tmp_path / "ready", tmp_path / "tidied"
    code = f"import time\ntry:\n    open({str(ready)!r}, 'w')\n    time.sleep(60)\n"
    code += f"except KeyboardInterrupt:\n    open({str(tidied)!r}, 'w')"

    def interrupt() -> None:
        while not ready.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell
    try:
        with pytest.raises(KeyboardInterrupt):
            run_sampled(python(code))
        assert tidied.exists() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


class Driver:
    """NVML of a machine with one card, of which 300 MB more are in use at every query."""

    def __init__(self) -> None:
        self.used_mb = 0

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle) -> int:
        handle._obj.value = 77
        return 0 if uuid == b"GPU-mine" else 6

    def nvmlDeviceGetMemoryInfo(self, handle, memory) -> int:
        assert handle.value == 77
        self.used_mb += 300
        memory._obj.total, memory._obj.free, memory._obj.used = 1000 << 20, (1000 - self.used_mb) << 20, 1
        return 0


def test_a_card_tells_what_is_not_free() -> None:
    card = Card(Driver(), "GPU-mine")
    assert card.used_mb() == 600.0  # the first query was made to see that it can be


def test_a_card_that_the_driver_does_not_know_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="nvmlDeviceGetHandleByUUID gives error 6"):
        Card(Driver(), "GPU-other")
    assert "on the CPU" in place_of(torch.device("cpu")).no_card


def test_without_the_drivers_library_memory_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None: ...
        def submit(self, *_: object):
            return self

        def result(self):
            return {"device": "a card"}, "GPU-mine"

    monkeypatch.setattr(gpu_memory, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(gpu_memory, "_LIBRARY", "libthat-nobody-has.so.9")
    place = place_of(torch.device("cuda"))
    assert place.card is None and "libthat-nobody-has" in place.no_card


def test_a_painted_ct_has_the_shape_that_was_asked_for() -> None:
    volume = painted_of_shape((9, 24, 30))
    assert volume.array.shape == (9, 24, 30)
    assert volume.spacing_mm == pytest.approx((32.0, 16.0, 12.8))
    assert volume.array.min() < -900 and volume.array.max() > 100


STUB = """
import json, os, shutil, sys
arguments = sys.argv[1:]
image, mask = arguments[arguments.index("segment") + 1], arguments[arguments.index("-o") + 1]
if "broken" in image:
    print("some trace", file=sys.stderr)
    sys.exit(f"error: {image}: is cut short. Copy it again.")
os.makedirs(os.path.dirname(mask), exist_ok=True)
shutil.copy(image, mask)
open(mask + ".args", "w").write(" ".join(arguments))
print(json.dumps({"seconds": {"read": 0.001, "write": 0.002}}))
"""


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two CTs and a broken one, and a stub in flarekit's place that `segments` them."""
    publish_tiny("ref")
    publish_tiny("prop", kind="propagation")
    folder = tmp_path / "CTs"
    for name in ("a", "b", "broken"):
        write_volume(folder / f"{name}_0000.nii.gz", painted_ct())
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setattr(segment, "COMMAND", (sys.executable, "-S", str(tmp_path / "stub.py")))
    return folder


MODELS = ("--model", "ref", "--propagation-model", "prop", "--device", "cpu")


def test_cases_are_measured_one_by_one_and_a_failed_one_says_why(cases: Path, run_cli) -> None:
    folder = cases.with_name("efficiency")
    outcome = run_cli("bench", "segment", cases, "-o", folder, *MODELS, "--json")
    assert outcome.code == 7 and "1 of 3 cases failed: broken" in outcome.stderr
    result = json.loads(outcome.stdout)
    assert [case["name"] for case in result["cases"]] == ["a", "b", "broken"]
    assert result["cases"][0]["shape"] == [52, 40, 12] and result["cases"][2]["shape"] is None
    assert result["cases"][2]["error"] == "broken_0000.nii.gz: is cut short. Copy it again."
    first = result["cases"][0]
    assert first["loading_s"] == pytest.approx(first["run_s"] - 0.003, abs=0.002)
    assert first["gpu_mb_s"] is None and "on the CPU" in result["no_gpu_memory_because"]
    total = result["cases"][0]["run_s"] + result["cases"][1]["run_s"]
    assert result["summed"]["run_s"] == pytest.approx(total, abs=0.002)
    assert {"device", "threads", "torch"} <= set(result["machine"]) and result["propagation_dtype"] == "float32"
    assert {path.name for path in folder.iterdir()} == {"efficiency.json", "efficiency.png", "masks"}
    stored = json.loads((folder / "efficiency.json").read_text())
    samples = stored["cases"][0]["samples"]
    assert set(map(len, samples.values())) == {len(samples["time_s"])} and samples["time_s"][-1] == first["run_s"]
    assert str(cases.parent) not in outcome.stdout + (folder / "efficiency.json").read_text()
    asked = (folder / "masks" / "a.nii.gz.args").read_text()
    assert "--model ref" in asked and "--propagation-model prop" in asked and "--device cpu" in asked


def test_an_interruption_leaves_nothing_and_an_existing_folder_is_left_alone(cases: Path, run_cli, monkeypatch) -> None:
    folder = cases.with_name("efficiency")
    with monkeypatch.context() as patched:
        patched.setattr(segment, "run_sampled", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run_cli("bench", "segment", cases, "-o", folder, *MODELS).code == 130
    assert sorted(path.name for path in cases.parent.iterdir()) == ["CTs", "stub.py"]
    folder.mkdir()
    refused = run_cli("bench", "segment", cases, "-o", folder, *MODELS)
    assert refused.code == 4 and "exists already. Name a new folder with -o." in refused.stderr


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--shape", "10x512"), 2, "slices x rows x columns"),
        (("--challenge", "--model", "starter-reference"), 5, "which --challenge refuses"),
        (("--model", "nobody"), 5, "unknown checkpoint 'nobody'"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_runs(run_cli, options, code: int, said: str) -> None:
    outcome = run_cli("bench", "segment", "--device", "cpu", *options)
    assert outcome.code == code and said in outcome.stderr and outcome.stderr.count("\n") == 1


@pytest.mark.slow
def test_segment_itself_is_measured(tmp_path: Path, run_cli) -> None:
    publish_tiny("ref")
    publish_tiny("prop", kind="propagation")
    write_volume(tmp_path / "a.nii.gz", painted_ct())
    outcome = run_cli("bench", "segment", tmp_path / "a.nii.gz", *MODELS, "--json")
    assert outcome.code == 0, outcome.stderr
    (case,) = json.loads(outcome.stdout)["cases"]
    assert set(case["stages_s"]) >= {"read", "reference", "propagation", "write"}
    assert 0 < case["loading_s"] < case["run_s"] and case["peak_ram_mb"] > 200
