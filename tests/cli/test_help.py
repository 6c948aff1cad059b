"""Every command explains itself."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from mvc.cli.app import ENTRIES, FIRST_STEPS, SYNONYMS, root
from mvc.cli.command import Command
from tests.cli.running import mvc

COMMANDS = (
    "init add import checkout path list show log diff search status tag best rollback rm restore "
    "keep fsck gc repack du store demo doctor completion".split()
)


def _command(name: str) -> Command:
    found = root.get_command(click.Context(root), name)
    assert isinstance(found, Command)
    return found


def test_the_commands_are_those_promised() -> None:
    """The table of commands holds each command of the design that exists, and no other."""
    assert set(ENTRIES) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_the_first_line_of_the_help(name: str) -> None:
    """``mvc --help`` says of a command what its own help begins with."""
    text = (_command(name).help or "").strip()
    assert text.partition("\n")[0] == ENTRIES[name].summary


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_all_its_parts(name: str, here: Path) -> None:
    """Each help says how to call, what happens, every option, examples and statuses."""
    done = mvc(name, "--help")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"Usage: mvc {name} ")
    for part in ("Options:", "Examples:", "Exit status:", "  0  ", "  2  "):
        assert part in done.out
    command = _command(name)
    assert len((command.help or "").split("\n\n")) >= 2
    assert 2 <= len(command.examples) <= 5
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_would_be_understood(name: str) -> None:
    """Each example in a help is a command line that its command accepts."""
    for typed, _ in _command(name).examples:
        _check(typed)


@pytest.mark.parametrize("typed", [typed for typed, _ in FIRST_STEPS])
def test_the_first_steps_would_be_understood(typed: str) -> None:
    """The lines a newcomer sees first are right."""
    _check(typed)


def _check(typed: str) -> None:
    line = re.split(r"&&|[|)]| > ~", typed[typed.index("mvc") :])[0]
    if "&& mvc" in typed:
        line = typed.split("&& ")[1]
    _, *words = shlex.split(line)
    if words[0] == "-C":
        words = words[2:]
    name, *arguments = words
    _command(name).make_context(name, arguments)


def test_other_words_for_a_command_lead_to_it(here: Path) -> None:
    """What other tools call a command, and a slip of the finger, are answered with its name."""
    assert {meant.split()[0] for meant in SYNONYMS.values()} <= set(COMMANDS)
    for typed, meant in [*SYNONYMS.items(), ("chekout", "checkout"), ("statsu", "status")]:
        done = mvc(typed)
        assert done.status == 2
        assert f"did you mean 'mvc {meant}'?" in done.err


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]], ids=str)
def test_help_is_found_where_it_is_looked_for(here: Path, arguments: list[str]) -> None:
    """``mvc``, ``mvc -h``, ``mvc --help`` and ``mvc help`` all show the same."""
    done = mvc(*arguments)
    assert (done.status, done.err) == (0, "")
    assert done.out == mvc("--help").out


def test_help_of_a_command_has_two_spellings(here: Path) -> None:
    """``mvc help add`` is ``mvc add --help``."""
    assert mvc("help", "add").out == mvc("add", "--help").out
