"""Progress as people see it: a bar in a terminal, lines in a log file, nothing where not asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mvc import progress
from mvc.cli import bar
from tests.cli.running import mvc, process
from tests.support.terminal import ended, open_terminal

# A bar that is due at once, and a job that stands still until somebody has looked at it: so many
# seconds each time that it has come further, the last number from then on.
SLOW = """
import sys, time
from mvc.cli import app, bar
bar.DELAY = 0
moved = bar.Bar.moved
pauses = [float(pause) for pause in sys.argv[1].split(",")]
def slowly(self, job):
    moved(self, job)
    if job.done:
        time.sleep(pauses.pop(0) if len(pauses) > 1 else pauses[0])
bar.Bar.moved = slowly
sys.exit(app.run(sys.argv[2:]))
"""
SIZE = 30_000_000


def slow(seconds: float | str, *arguments: str) -> Sequence[str]:
    return [sys.executable, "-c", SLOW, str(seconds), *arguments]


@pytest.fixture
def large(registry: Path) -> Path:
    """A registry, and a file of 30 MB beside it."""
    (registry / "large.bin").write_bytes(b"\1" * SIZE)
    return registry


def test_a_bar_says_what_how_much_how_fast_and_how_long(large: Path) -> None:
    """On a terminal a bar shows the file, bytes, rate and time left, and is gone at the end."""
    with open_terminal(slow(0.2, "add", "large", "large.bin"), folder=large) as terminal:
        screen = terminal.wait_for("0:00:0")
        status = terminal.finish()
    (line,) = screen.splitlines()
    assert line.startswith("reading large.bin")
    assert "/30.0 MB" in line
    assert "━" in line
    assert " MB/s " in line
    assert status == 0
    assert terminal.shown.splitlines()[-1] == "large/v1"
    assert "━" not in terminal.shown
    assert not terminal.screen.cursor.hidden


def test_ctrl_c_leaves_the_terminal_as_it_was(large: Path) -> None:
    """Interrupted under a bar, a command takes it away, shows the cursor and ends with 130."""
    stopping = slow("0.2,0.2,0.2,600", "add", "large", "large.bin")
    with open_terminal(stopping, folder=large) as terminal:
        terminal.wait_for("MB/s")
        terminal.type("\x03")
        status = terminal.finish()
    assert status == 130
    assert "error: interrupted" in terminal.shown
    assert "━" not in terminal.shown
    assert not terminal.screen.cursor.hidden
    assert list((large / ".mvc/store/staging").iterdir()) == []


def test_a_narrow_terminal_has_a_bar_of_one_line(large: Path) -> None:
    """However narrow the terminal, a bar takes one line of it, so that it can be taken away."""
    name = "a-name-that-is-much-longer-than-the-terminal-is-wide.bin"
    (large / "large.bin").rename(large / name)
    with open_terminal(slow(0.2, "add", "m", name), folder=large, columns=40) as terminal:
        screen = terminal.wait_for("MB")
        assert terminal.finish() == 0
    assert len(screen.splitlines()) == 1
    assert "━" not in terminal.shown


@pytest.mark.parametrize("word", ["--no-progress", "-q", "--quiet"])
@pytest.mark.parametrize("before", [True, False])
def test_no_bar_where_none_is_wanted(large: Path, word: str, before: bool) -> None:
    """``--no-progress`` and ``-q``, before the command or after it, leave the bar out."""
    typed = [word, "add", "large", "large.bin"] if before else ["add", word, "large", "large.bin"]
    terminal, status = ended(slow(0, *typed), folder=large)
    assert (status, "━" in terminal.written.decode()) == (0, False)


def test_the_environment_turns_progress_off(large: Path) -> None:
    """``MVC_PROGRESS=0`` leaves the bar out wherever mvc is called."""
    command = slow(0, "add", "large", "large.bin")
    terminal, status = ended(command, folder=large, environment={"MVC_PROGRESS": "0"})
    assert (status, "━" in terminal.written.decode()) == (0, False)


def test_a_short_job_draws_nothing_and_loads_nothing(large: Path) -> None:
    """A job of less than a second leaves no trace on a terminal, and needs no library for it."""
    program = (  # whatever the machine has to do beside, by its own clock the job takes no time
        "import sys, types; from mvc.cli import app, bar; "
        "bar.time = types.SimpleNamespace(monotonic=lambda: 0.0); "
        "app.run(sys.argv[1:]); print('rich' in sys.modules)"
    )
    command = [sys.executable, "-c", program, "path", "large"]
    assert mvc("add", "large", "large.bin").status == 0
    terminal, _ = ended(command, folder=large)
    assert b"\x1b" not in terminal.written
    assert terminal.shown.splitlines()[-1] == "False"


def test_a_log_file_has_a_line_for_what_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where stderr is no terminal, a long job is told of twice, and a short one not at all."""
    clock = iter([0.0, 4.0, 12.0, 15.0, 40.0, 100.0, 101.0])
    monkeypatch.setattr("mvc.cli.bar.time.monotonic", lambda: next(clock))
    shown = bar.Bar(verbose=False, drawn=True)
    with progress.listening(shown.moved):
        with progress.job("reading large.bin", SIZE):
            for _ in range(3):
                progress.advance(SIZE // 3)
        with progress.job("reading small.bin", 5):
            pass
    assert capsys.readouterr().err.splitlines() == [
        "reading large.bin: 20.0 MB of 30.0 MB after 12 s",
        "reading large.bin: 30.0 MB in 40.0 s",
    ]


def test_what_is_said_meanwhile_stands_above_the_bar(large: Path) -> None:
    """A warning under a bar is a line of its own, and the bar goes on below it."""
    program = SLOW.replace("def slowly", "told = []\ndef slowly").replace(
        "    moved(self, job)",
        "    moved(self, job)\n    if job.done and not told:\n"
        "        told.append(app.output.line('warning', 'the disk is [slow]'))",
    )
    command = [sys.executable, "-c", program, "0.2", "add", "large", "large.bin"]
    with open_terminal(command, folder=large) as terminal:
        screen = terminal.wait_for("warning: the disk is [slow]\nreading large.bin")
        status = terminal.finish()
    assert (status, len(screen.splitlines())) == (0, 2)
    assert terminal.shown.splitlines()[0] == "warning: the disk is [slow]"
    assert "━" not in terminal.shown


def test_an_answer_is_not_mixed_with_progress(large: Path) -> None:
    """With a bar on the terminal, stdout goes where it was sent, and holds the answer alone."""
    command = " ".join(f"'{word}'" for word in slow(0, "add", "large", "large.bin"))
    terminal, status = ended(["sh", "-c", f"{command} > answer"], folder=large)
    assert status == 0
    assert "━" in terminal.written.decode()
    assert (large / "answer").read_text() == "large/v1\n"


def test_piped_commands_say_nothing_more(large: Path) -> None:
    """A short command in a pipe prints what it printed before there was any progress."""
    done = process(["fsck"], cwd=large)
    assert (done.returncode, done.stderr) == (0, "reading 0 B\n")
