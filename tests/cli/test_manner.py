"""How much is said: -v, -q, --no-progress and --debug, wherever they are typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mvc.cli.app import ENTRIES
from tests.cli.running import ROOT, mvc, write_model

COMMON = ("-v", "--verbose", "-q", "--quiet", "--no-progress", "--no-pager", "--debug")


@pytest.mark.parametrize("name", ENTRIES)
def test_every_command_understands_them_before_and_after(name: str, here: Path) -> None:
    """Each option that says how much is said may stand before any command and after it."""
    for typed in ([*COMMON, name, "--help"], [name, *COMMON, "--help"]):
        done = mvc(*typed)
        assert (done.status, done.err) == (0, ""), typed


def test_commands_of_commands_understand_them_as_well(resnet18: Path) -> None:
    """``mvc store -v info`` and ``mvc store info -v`` say more."""
    plain = mvc("store", "info")
    for typed in (["-v", "store", "info"], ["store", "-v", "info"], ["store", "info", "-v"]):
        done = mvc(*typed)
        assert (done.out, done.status) == (plain.out, 0)
        assert done.err.count("registry: ") == done.err.count(" s in all") == 1


def test_verbose_says_where_how_and_how_long(registry: Path) -> None:
    """``-v`` names the registry, the store, what a file is, how it is stored, and the time."""
    plain = mvc("add", "a", "model.safetensors")
    write_model(registry / "other.safetensors", 2)
    done = mvc("add", "b", "other.safetensors", "-v")
    assert (done.out, plain.out) == ("b/v1\n", "a/v1\n")
    store = registry / ".mvc/store"
    lines = [re.sub(r"[\d,.]+ (bytes|kB|s\b)", r"… \1", line) for line in done.err.splitlines()]
    assert lines == [
        f"registry: '{registry / '.mvc'}', found from here upward",
        f"store: '{store}', where it is configured",
        "other.safetensors: safetensors, 2 tensors",
        "reading other.safetensors: 100 kB in … s".replace("100 kB", "… kB"),
        "objects stored: 1 as planes; … bytes, and 0 were there",
        "other.safetensors: … kB read, … kB stored, … s",
        "mvc add: … s in all",
    ]


@pytest.mark.parametrize("typed", [["-v"], ["-C", ".", "-v"]], ids=" ".join)
def test_verbose_says_how_the_registry_was_found(
    resnet18: Path, typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line on the registry says whether -C, MVC_DIR or the working folder led to it."""
    found = "as -C says" if "-C" in typed else "found from here upward"
    assert f"', {found}\n" in mvc(*typed, "list").err
    monkeypatch.setenv("MVC_DIR", str(resnet18))
    assert "', as MVC_DIR says\n" in mvc(*typed, "list").err


def test_quiet_leaves_out_notes_and_keeps_answers_and_warnings(resnet18: Path) -> None:
    """With ``-q`` a command prints its answer alone, and what it warns of."""
    assert mvc("add", "-q", "resnet18", "better.safetensors").err == ""
    loud, quiet = mvc("fsck"), mvc("fsck", "-q")
    assert (loud.out, loud.err.startswith("reading ")) == (quiet.out, True)
    assert quiet.err == ""
    for pack in (resnet18 / ".mvc/store/packs").iterdir():
        pack.rename(pack.with_suffix(".away"))
    assert mvc("-q", "show", "resnet18").err.startswith("warning: ")


def test_quiet_before_a_command_is_quiet_after_it(resnet18: Path) -> None:
    """``mvc -q list resnet18`` prints ids, as ``mvc list resnet18 -q`` does."""
    after = mvc("list", "resnet18", "-q")
    before = mvc("-q", "list", "resnet18")
    assert before == after
    assert set(after.out.split()) == {"resnet18/v1", "resnet18/v2"}


def test_quiet_says_when_it_does_not_show_all(resnet18: Path) -> None:
    """That some are left out is said even with ``-q``: who counts lines must know."""
    done = mvc("log", "-q", "-n", "1")
    assert (done.out, done.err.startswith("note: these are the newest 1;")) == (
        "resnet18/v2\n",
        True,
    )


@pytest.mark.parametrize(
    "typed", [["--debug", "show", "no"], ["show", "no", "--debug"]], ids=" ".join
)
def test_debug_shows_versions_and_place(resnet18: Path, typed: list[str]) -> None:
    """With ``--debug`` an error is preceded by the versions in one line and the traceback."""
    lines = mvc(*typed).err.splitlines()
    assert re.match(r"debug: mvc [\d.]+, \w+ 3\.\d+\.\d+, \w+ .*; .*blake3 \d", lines[0])
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-2] == "error: no family 'no'"


def test_without_debug_there_is_no_traceback(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a fault of mvc itself is one line, whose hint says how to see more."""
    monkeypatch.setattr("mvc.ModelRegistry.show", lambda self, ref: 1 / 0)
    done = mvc("show", "resnet18")
    assert "Traceback" not in done.err
    assert "--debug" in done.err.splitlines()[-1]
    assert "ZeroDivisionError" in mvc("show", "resnet18", "--debug").err


def test_one_command_line_does_not_change_the_next(resnet18: Path) -> None:
    """What was asked of one command is not asked of another in the same process."""
    plain = mvc("fsck")
    mvc("-v", "--debug", "-q", "fsck")
    assert mvc("fsck") == plain


def test_every_variable_that_is_read_is_on_the_page() -> None:
    """docs/terminal.md lists the environment variables that mvc reads, and no others."""
    source = (ROOT / "mvc/environment.py").read_text()
    read = set(re.findall(r'(?:get|_path)\(\s*"([A-Z_]+)"', source))
    read -= {"_MVC_COMPLETE"}  # between a shell and mvc only
    page = (ROOT / "docs/terminal.md").read_text().partition("## Environment")[2]
    listed = re.findall(r"^\| `([A-Z_]+)` \|", page.partition("\n## ")[0], re.MULTILINE)
    assert sorted(listed) == sorted(read)


def test_less_may_be_said_before_a_command_that_answers_with_json(resnet18: Path) -> None:
    """``-q`` is an answer of its own only behind a command's name."""
    done = mvc("-q", "show", "resnet18", "--json")
    assert (done.status, done.json["id"]) == (0, "resnet18/v2")
    assert mvc("show", "resnet18", "-q", "--json").status == 2
