"""The real process, told by the system that a call was done when it was not."""

from __future__ import annotations

import shutil

import pytest

from mvc import MvcError
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
)  # fmt: skip
from tests.support.fault_trace import Point
from tests.support.faults import Project, bytes_of, full_check

IMPOSSIBLE = fault_trace.why_not()
pytestmark = [
    pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE)),
    pytest.mark.filterwarnings("ignore::mvc.StoreWarning"),  # a store in the middle of a move
]

sweeps = pytest.mark.parametrize(
    ("command", "all_calls"),
    [
        *((command, False) for command in COMMANDS if command.name in ("add", "tag", "checkout")),
        *(pytest.param(command, True, marks=pytest.mark.long) for command in COMMANDS),
    ],
    ids=lambda value: value.name if isinstance(value, Command) else ["some", "all"][value],
)


def lies_of(project: Project, command: Command, all_calls: bool) -> list[Point]:
    """Return the calls to lie about: all, or the first write and what gives the last name."""
    copy = project.copied("recorded")
    points = fault_trace.record(command.arguments, copy.folder, copy.folder.with_suffix(".trace"))
    told = [p for p in points if (p.is_of_a_name or p.name == "writev") and p.result is not None]
    if all_calls:
        return told
    write = next(point for point in told if point.name == "writev")
    return [write, told[fault_trace.middle(told)]]


def named(project: Project, notes: int) -> bool:
    """Say whether a check finds something wrong, or has more to note than it would have."""
    try:
        report = full_check(project.open())
    except MvcError:  # so does every other command
        return True
    return not report.ok or len(report.notes) > notes


@sweeps
def test_what_the_system_only_says_it_did_is_noticed_or_named(
    project: Project, command: Command, all_calls: bool
) -> None:
    """A write, a name or a removal that never happened: an error, or the next ``fsck`` names it.

    Or what was to go or to be packed anew is as it was, and the next run does
    that. In no case is another version hurt.
    """
    command.prepare(project)
    project.tags.clear()
    settled(project)
    unharmed = project.copied("unharmed")
    assert run(unharmed, command.arguments).status == 0
    after = state_of(unharmed)
    notes = len(full_check(unharmed.open()).notes)
    lied = 0
    for place, point in enumerate(lies_of(project, command, all_calls)):
        copy = project.copied(f"lied-{place}")
        what = f"retval={point.result}:when={point.k}"
        done, trace = fault_trace.inject(point, what, command.arguments, copy.folder)
        if "(INJECTED)" not in trace:
            continue
        lied += 1
        assert said_well(done.returncode, done.stderr) == "", point
        for identity in copy.held.keys() - hurt_in(project):
            assert bytes_of(copy.open(), identity) == copy.held[identity], point
        if done.returncode == 0 and not named(copy, notes) and state_of(copy) != after:
            assert "unlink" in point.name or amounts_to(copy, after, but="objects"), point.text
            assert run(copy, command.arguments).status == 0, point
            assert state_of(copy) == after, point
        shutil.rmtree(copy.folder)
    tally.count("lies told", lied, of=str(command))
    assert lied
