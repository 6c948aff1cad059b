"""Paging, in a real terminal: what does not fit goes to a pager, and nothing else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mvc import environment
from mvc.cli.app import ENTRIES
from tests.cli.running import mvc, process
from tests.support.growing import grow
from tests.support.registry_builders import Project
from tests.support.terminal import open_terminal

needs_less = pytest.mark.skipif(shutil.which("less") is None, reason="there is no less")
# What a pager gets is kept, and what it shows is not more.
KEPT = {"MVC_PAGER": "tee kept"}


@pytest.fixture
def many(registry: Path) -> Path:
    """A family of 60 versions."""
    assert mvc("add", "net", "model.safetensors", "-m", "acc=0.5").status == 0
    grow(Project(registry), 59)
    return registry


def seen(folder: Path, *words: str, rows: int = 24, **environment: str) -> tuple[str, int]:
    """Run a command in a terminal to its end, and return what it wrote and its status."""
    with open_terminal(
        ["mvc", *words], rows=rows, folder=folder, environment=environment
    ) as terminal:
        status = terminal.finish()
        return terminal.written.decode(), status


@needs_less
def test_less_shows_what_does_not_fit(many: Path) -> None:
    """The first page waits to be read; with q it is over, and all is well."""
    with open_terminal(["mvc", "list", "net"], rows=10, folder=many) as terminal:
        terminal.wait_for("v55")
        terminal.type("q")
        assert terminal.finish() == 0
        assert "v20" not in terminal.written.decode()
        assert "Traceback" not in terminal.written.decode()
        assert b"\x1b[33m" in terminal.written  # colours pass through
        assert b"ESC" not in terminal.written


@needs_less
def test_ctrl_c_is_for_the_pager(many: Path) -> None:
    """Ctrl-C in less does not end mvc under it."""
    with open_terminal(["mvc", "log", "net"], rows=10, folder=many) as terminal:
        terminal.wait_for("net/v60")
        terminal.type("\x03")
        terminal.type_until_ended("q")
        assert terminal.finish() == 0
        assert "error" not in terminal.written.decode()


@needs_less
def test_the_status_is_that_of_the_command(many: Path) -> None:
    """A pager that is left does not say how it went."""
    mvc("add", "net", "model.safetensors", "-m", "acc=0.7", "-m", "loss=1", "-p", "lr=1")
    command = ["mvc", "diff", "net@v1", "net@v61", "--exit-code"]
    with open_terminal(command, rows=4, folder=many) as terminal:
        terminal.wait_for("metrics")
        terminal.type("q")
        assert terminal.finish() == 1


def test_what_fits_is_not_paged(many: Path) -> None:
    """A pager is started for a full screen and more, lines that wrap counted."""
    seen(many, "list", "net", "-n", "20", rows=24, **KEPT)
    assert not (many / "kept").exists()
    seen(many, "list", "net", "-n", "30", rows=24, **KEPT)
    assert (many / "kept").read_text().count("\n") == 31
    (many / "kept").unlink()
    assert mvc("add", "wide", "model.safetensors", "--message", "word " * 500).status == 0
    seen(many, "log", "wide", rows=24, **KEPT)
    assert (many / "kept").exists()


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["--no-pager", "log"], KEPT),
        (["log", "--no-pager"], KEPT),
        (["log"], {**KEPT, "TERM": "dumb"}),
        (["log"], {"MVC_PAGER": "", "PAGER": "tee kept"}),
        (["log"], {"MVC_PAGER": "cat", "PAGER": "tee kept"}),
        (["status"], KEPT),
    ],
    ids=["before", "after", "dumb", "empty", "cat", "report"],
)
def test_there_are_ways_without(many: Path, words: list[str], environment: dict[str, str]) -> None:
    """An option, an empty variable and a dumb terminal each leave the pager out."""
    _, status = seen(many, *words, rows=2, **environment)
    assert status == 0
    assert not (many / "kept").exists()


def test_a_terminal_without_a_size_is_not_paged(many: Path) -> None:
    """Where nobody knows how much fits, nothing waits for a key."""
    _, status = seen(many, "log", rows=0, **KEPT)
    assert status == 0
    assert not (many / "kept").exists()


def test_a_pipe_is_never_paged(many: Path) -> None:
    """Where stdout is no terminal there is no pager, whatever is set."""
    assert process(["log"], KEPT).returncode == 0
    assert not (many / "kept").exists()


def test_the_pager_of_other_programs_is_asked_last(many: Path) -> None:
    """``PAGER`` counts where ``MVC_PAGER`` is not set."""
    seen(many, "log", PAGER="tee kept", MVC_PAGER="tee mine")
    assert not (many / "kept").exists()
    assert (many / "mine").exists()
    seen(many, "log", PAGER="tee 'kept'")
    assert (many / "kept").exists()


@pytest.mark.parametrize("pager", ["true", "head -n 1", "false"])
def test_a_pager_that_ends_early_is_no_error(many: Path, pager: str) -> None:
    """Whoever has seen enough leaves, however much is to come and however they go."""
    grow(Project(many), 1500)
    written, status = seen(many, "log", "--all", MVC_PAGER=pager)
    assert status == 0
    assert written.count("\n") < 5


@pytest.mark.parametrize("pager", ["no-such-pager -x", "'unmatched"])
def test_a_pager_that_is_not_there_costs_no_answer(many: Path, pager: str) -> None:
    """A warning names it, and everything is printed."""
    written, status = seen(many, "list", "net", MVC_PAGER=pager)
    assert status == 0
    assert f"the pager '{pager.split()[0]}' cannot be run: No such file" in written
    assert "v11" in written


def test_without_less_all_is_printed(many: Path) -> None:
    """Where nobody asked for a pager and there is no less, nothing is said of it."""
    written, status = seen(many, "list", "net", PATH="/nowhere", NO_COLOR="1")
    assert status == 0
    assert "v11" in written
    assert "pager" not in written


def test_an_error_is_not_paged(many: Path) -> None:
    """A command that fails says so where it always does."""
    written, status = seen(many, "show", "net@v99", rows=2, NO_COLOR="1", **KEPT)
    assert status == 4
    assert "error: no version v99" in written


def test_the_commands_that_are_paged() -> None:
    """Paged is what may be long and is read from the top."""
    import click

    from mvc.cli.app import root

    commands = {name: root.get_command(click.Context(root), name) for name in ENTRIES}
    paged = {name for name, command in commands.items() if getattr(command, "paged", False)}
    assert paged == {"list", "log", "show", "diff", "search"}


@pytest.mark.parametrize(("given", "told"), [(None, "FRX"), ("", "-R "), ("iM", "-R iM")])
def test_colours_pass_through_less_whatever_else_it_is_told(
    monkeypatch: pytest.MonkeyPatch, given: str | None, told: str
) -> None:
    """Without ``R`` less shows the codes of colours instead of colours."""
    monkeypatch.delenv("LESS", raising=False)
    if given is not None:
        monkeypatch.setenv("LESS", given)
    assert environment.of_pager()["LESS"] == told
