"""What the README, the pages of examples/ and the examples under `--help` name exists: commands, options, files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from flarekit.cli.commands import app

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md")))
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
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


def printed_lines():
    for page in TEXTS.values():
        for _, text in FENCE.findall(page):
            yield from shell_lines(text)


def epilog_lines():
    for command in leaves():
        for span in re.findall(r"`([^`]+)`", command.epilog or ""):
            yield from shell_lines(span)


def code_spans(text):
    """What stands between backticks, outside of fences and with its lines joined."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", text))]


def headings(text):
    """A page's headings as its links name them."""
    return {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("words", [*dict.fromkeys((*printed_lines(), *epilog_lines()))], ids=" ".join)
def test_every_printed_command_line_is_one_that_the_command_takes(words):
    command, arguments = leaf_of(words)
    assert not hasattr(command, "commands") and words, f"{words} is no command"
    command.make_context("flarekit", [argument for argument in arguments if argument != "..."])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name + "/" + page.name)
def test_a_page_names_no_option_that_no_command_has(page):
    known = set().union(*map(options_of, (FLAREKIT, *leaves()))) | OPTIONS_OF_OTHERS
    assert set(OPTION.findall(TEXTS[page])) - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name + "/" + page.name)
def test_an_option_that_a_page_gives_to_a_command_is_that_commands(page):
    for span in code_spans(TEXTS[page]):
        command, rest = leaf_of(shlex.split(span.removeprefix("flarekit ")))
        if command is not FLAREKIT:
            options = options_of(command).union(*map(options_of, leaves(command)))
            assert {word for word in rest if OPTION.fullmatch(word)} <= options, span
        else:
            assert not span.startswith("flarekit "), span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name + "/" + page.name)
def test_links_and_files_of_a_page_are_there(page):
    for target in re.findall(r"\]\(([^)]+)\)", TEXTS[page]):
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not heading or heading in headings(TEXTS[file]), target
    for path in re.findall(r"(?<![\w./])(?:examples|flarekit|tests|docs)/[\w/.-]*\w", TEXTS[page]):
        assert (ROOT / path).exists(), path
