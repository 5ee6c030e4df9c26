"""What the README and the examples under `--help` say exists: commands, options, files and headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from flarekit.cli.commands import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FLAREKIT = typer.main.get_command(app)
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]+")
OPTIONS_OF_OTHERS = {"--multi_gpu", "--nthreads"}  # accelerate's and dask's


def leaf_of(words):
    """The command that the words lead to, and the words after it."""
    command, rest = FLAREKIT, list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    return command, rest


def leaves(command=FLAREKIT) -> Iterator:
    for one in getattr(command, "commands", {}).values():
        yield one
        yield from leaves(one)


def options_of(command):
    return {"--help"} | {name for one in command.params for name in (*one.opts, *one.secondary_opts)}


def shell_lines(text):
    """What is asked of flarekit there: continued lines joined, loops taken apart, 1 for every variable."""
    for line in re.sub(r"\$\w+", "1", text.replace("\\\n", " ")).splitlines():
        for part in re.split(r"&&|;| do ", line.removeprefix("$ ")):
            if part.strip().startswith("flarekit "):
                yield tuple(shlex.split(part, comments=True)[1:])


def readme_lines():
    for _, text in FENCE.findall(README):
        yield from shell_lines(text)


def epilog_lines():
    for command in leaves():
        for span in re.findall(r"`([^`]+)`", command.epilog or ""):
            yield from shell_lines(span)


def code_spans():
    """What stands between backticks, outside of fences and with its lines joined."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", README))]


@pytest.mark.parametrize("words", [*dict.fromkeys((*readme_lines(), *epilog_lines()))], ids=" ".join)
def test_every_printed_command_line_is_one_that_the_command_takes(words):
    command, arguments = leaf_of(words)
    assert not hasattr(command, "commands") and words, f"{words} is no command"
    command.make_context("flarekit", [argument for argument in arguments if argument != "..."])


def test_the_readme_names_no_option_that_no_command_has():
    known = set().union(*map(options_of, (FLAREKIT, *leaves()))) | OPTIONS_OF_OTHERS
    assert set(OPTION.findall(README)) - known == set()


def test_an_option_that_the_readme_gives_to_a_command_is_that_commands():
    for span in code_spans():
        command, rest = leaf_of(shlex.split(span.removeprefix("flarekit ")))
        if command is not FLAREKIT:
            options = options_of(command).union(*map(options_of, leaves(command)))
            assert {word for word in rest if OPTION.fullmatch(word)} <= options, span
        else:
            assert not span.startswith("flarekit "), span


def test_links_and_files_of_the_readme_are_there():
    headings = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", README, re.M)}
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target[1:] in headings if target.startswith("#") else (ROOT / target).exists(), target
    for path in re.findall(r"(?:examples|flarekit|tests)/[\w/.-]*\w", README):
        assert (ROOT / path).exists(), path
