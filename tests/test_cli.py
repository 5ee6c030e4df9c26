"""The command line's own promises: quick help, clean streams, documented exit codes."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest
import typer

from flarekit import __version__, errors
from flarekit.cli.commands import app

HEAVY = ("numpy", "torch", "timm", "SimpleITK", "nibabel", "h5py", "matplotlib", "scipy", "accelerate")


def commands(group: typer.Typer, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [(*prefix, c.name or c.callback.__name__.strip("_")) for c in group.registered_commands]
    for sub in group.registered_groups:
        found += commands(sub.typer_instance, (*prefix, sub.name))
    return found


def test_help_imports_no_heavy_library():
    script = (
        "import sys\n"
        "from flarekit.cli import main\n"
        "code = main(['--help'])\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'imported {heavy}' if heavy else code)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "segment" in result.stdout


@pytest.mark.parametrize("command", commands(app), ids=" ".join)
def test_every_command_explains_itself_with_an_example(command, run_cli):
    outcome = run_cli(*command, "--help")
    assert outcome.code == 0
    assert "Example" in outcome.stdout
    assert f"flarekit {' '.join(command)}" in " ".join(outcome.stdout.split())


def test_version(run_cli):
    assert run_cli("--version").stdout == f"flarekit {__version__}\n"


def test_an_unknown_option_ends_with_code_2(run_cli):
    assert run_cli("doctor", "--no-such-option").code == 2


def test_doctor_answers_in_json_on_stdout_alone(run_cli):
    outcome = run_cli("doctor", "--json")
    findings = json.loads(outcome.stdout)
    assert outcome.code == 0 and outcome.stderr == ""
    assert findings["flarekit"]["version"] == __version__
    assert findings["packages"]["torch"] != "missing"


def test_threads_are_limited_before_and_after_torch_is_imported(run_cli):
    import torch

    before = torch.get_num_threads()
    try:
        findings = json.loads(run_cli("--threads", "1", "doctor", "--json").stdout)
        assert findings["device"]["cpu"] == "1 threads"
    finally:
        torch.set_num_threads(before)


def test_an_error_is_one_line_with_its_exit_code(run_cli):
    outcome = run_cli("models", "show", "no-such-model")
    assert outcome.code == errors.CheckpointError.exit_code
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: unknown checkpoint 'no-such-model'.")
    assert outcome.stderr.count("\n") == 1


def test_exit_codes_are_documented_and_distinct():
    classes = errors.FlarekitError.__subclasses__()
    codes = [kind.exit_code for kind in classes]
    assert len(set(codes)) == len(codes)
    assert all(f"| {kind.exit_code} | {kind.__name__} |" in errors.__doc__ for kind in classes)


def test_an_error_from_a_worker_process_reads_as_it_was_raised():
    error = errors.InputError("is damaged", where="ct.nii.gz", remedy="Copy it again.")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "ct.nii.gz: is damaged. Copy it again."
    assert (again.what, again.where, again.remedy) == (error.what, error.where, error.remedy)
