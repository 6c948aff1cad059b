"""The real process where the system gives less than it might, or is full of interruptions."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import process
from tests.faults.test_killed_by_strace import points_of
from tests.support import fault_trace, tally
from tests.support.fault_commands import (
    COMMANDS,
    Command,
    amounts_to,
    hurt_in,
    run,
    said_well,
    settled,
    state_of,
)
from tests.support.fault_trace import Point
from tests.support.faults import Project, records_of, whole

IMPOSSIBLE = fault_trace.why_not()
traced = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))
pytestmark = pytest.mark.filterwarnings("ignore::mvc.StoreWarning")  # a store during a move
BY_NAME = {command.name: command for command in COMMANDS}

# Calls that the system may break off to deliver a signal; Python makes each again. What loads
# Python and its libraries does not, so these are calls that only mvc makes.
BROKEN_OFF = ("writev", "fsync", "fchmod")
READING = ("openat", "pread64")
THE_QUICK = ("add", "checkout of a folder")


def after(project: Project, command: Command) -> dict[str, object]:
    """Return what a project amounts to when nothing is in the way of a command."""
    command.prepare(project)
    project.tags.clear()
    settled(project)
    unharmed = project.copied("unharmed")
    assert run(unharmed, command.arguments).status == 0
    return state_of(unharmed)


@traced
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(c, marks=() if c.name in THE_QUICK else pytest.mark.long, id=c.name)
        for c in COMMANDS
    ],
)
def test_every_third_call_broken_off_by_a_signal_changes_nothing(
    project: Project, command: Command
) -> None:
    """A command of which every third call ends with EINTR does the same."""
    expected = after(project, command)
    for first in (1, 2, 3):
        copy = project.copied(f"broken-{first}")
        what = f"error=EINTR:when={first}+3"
        point = Point(",".join(BROKEN_OFF), 0, "")
        done, trace = fault_trace.inject(point, what, command.arguments, copy.folder)
        assert done.returncode == 0, done.stderr
        assert state_of(copy) == expected
        tally.count("calls broken off", trace.count("(INJECTED)"), of=str(command))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_writes_that_are_cut_short_are_carried_on(
    project: Project, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that takes a thousand bytes at a time stores the same, whatever the command."""
    expected = after(project, command)
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda file, pieces: real(file, [pieces[0][:1000]]))
    assert run(project, command.arguments).status == 0
    monkeypatch.undo()
    assert state_of(project) == expected
    whole(project)


FEW = (5, 8, 16)
SCARCE = [
    *(("files", resource.RLIMIT_NOFILE, most, name) for name in THE_QUICK for most in FEW),
    *(
        pytest.param("files", resource.RLIMIT_NOFILE, most, c.name, marks=pytest.mark.long)
        for c in COMMANDS
        for most in range(5, 24)  # with four Python does not start
    ),
    *(
        pytest.param("memory", resource.RLIMIT_AS, most << 20, name, marks=pytest.mark.long)
        for name in ("add", "add of a delta", "repack", "fsck --repair")
        for most in range(40, 400, 30)
    ),
]


@pytest.mark.parametrize(("what", "limit", "most", "name"), SCARCE)
def test_what_there_is_too_little_of_ends_a_command_and_nothing_else(
    project: Project, what: str, limit: int, most: int, name: str
) -> None:
    """With few open files, or little memory, a command does its work or leaves all as it was.

    Where memory is short, the libraries it is built on may say so before mvc can.
    """
    command = BY_NAME[name]
    expected = after(project, command)
    hurt = hurt_in(project)
    done = process(
        ["-C", str(project.folder), *command.arguments],
        preexec_fn=lambda: resource.setrlimit(limit, (most, most)),
    )
    assert what == "memory" or said_well(done.returncode, done.stderr) == "", done
    assert done.returncode or amounts_to(project, expected)
    if hurt:
        assert hurt_in(project) <= hurt
    elif (project.folder / ".mvc").exists():
        whole(project)
    assert run(project, command.arguments).status in command.again
    assert amounts_to(project, expected)
    tally.count("limits met", int(done.returncode != 0), of=f"{what}, {command}")


@pytest.fixture
def read_only(project: Project) -> Iterator[Project]:
    """A project on a file system that is mounted read only."""
    at = str(project.folder)
    mount = ["mount", "--bind", at, at]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", at], check=True)
        yield project
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


def test_a_read_only_mount_is_read_from_and_refused_for_writing(
    read_only: Project, tmp_path: Path
) -> None:
    """Looking, checking and checking out elsewhere work; what writes says at once why it cannot."""
    target = tmp_path / "out.bin"
    for reading in (
        ("list",), ("show", "net@v1"), ("log",), ("search", "acc > 0"), ("status",), ("du",),
        ("fsck", "--full"), ("checkout", "net@v1", "-o", str(target)),
    ):  # fmt: skip
        ran = run(read_only, reading)
        assert ran.status == 0, (reading, ran)
    assert target.read_bytes() == read_only.held["net/v1"]
    for writing in (
        ("add", "net", str(target)), ("tag", "net@v2", "prod"), ("rm", "net@v2"),
        ("rollback", "net@prod"), ("gc", "--grace", "0"), ("repack",),
        ("store", "move", str(tmp_path / "moved")), ("checkout", "net@v1", "-o", "here"),
    ):  # fmt: skip
        ran = run(read_only, writing)
        if writing[0] == "rollback":  # there is nothing to go back to
            assert ran.status == 4
            continue
        assert said_well(ran.status, ran.err) == "", (writing, ran)
        assert ran.status, (writing, ran)
        assert "read-only" in ran.err, (writing, ran)
    whole(read_only)


@traced
@pytest.mark.parametrize("all_calls", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_disk_that_fails_when_it_is_first_read_after_a_kill_loses_nothing(
    project: Project, all_calls: bool
) -> None:
    """Killed in ``add``, then a reading call fails once: one line, and nothing was deleted."""
    command = BY_NAME["add"]
    expected = after(project, command)
    settled(project)
    kills = points_of(project, command, all_calls=False)[:1]
    copy = project.copied("killed")
    for point in kills:
        fault_trace.kill_at(point, command.arguments, copy.folder)
    copy.tags.clear()
    settled(copy)
    before = records_of(copy.open())
    again = copy.copied("looked")
    trace = again.folder.with_suffix(".trace")
    points = [
        point
        for point in fault_trace.record(command.arguments, again.folder, trace, also=READING)
        if point.name in READING
    ]
    for place, point in enumerate(points if all_calls else points[:2]):
        failed = copy.copied(f"unreadable-{place}")
        done, _ = fault_trace.inject(
            point, f"error=EIO:when={point.k}", command.arguments, failed.folder, also=READING
        )
        assert said_well(done.returncode, done.stderr) == "", (point, done)
        assert records_of(whole(failed)).items() >= before.items(), point
        assert run(failed, command.arguments).status == 0
        assert amounts_to(failed, expected), point
        tally.count("calls failed", of="mvc add after a kill")
