"""The real process, a system call of which fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.support import fault_trace, tally
from tests.support.fault_commands import (
    COMMANDS,
    Command,
    check_failed,
    hurt_in,
    run,
    settled,
    state_of,
)
from tests.support.fault_trace import Point
from tests.support.faults import Project

IMPOSSIBLE = fault_trace.why_not()
pytestmark = [
    pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE)),
    pytest.mark.filterwarnings("ignore::mvc.StoreWarning"),  # a store in the middle of a move
]

READING = ("openat", "pread64", "close")
LATER = ("ENOSPC", "EDQUOT", "EIO", "EMFILE")
sweeps = pytest.mark.parametrize(
    ("command", "all_calls"),
    [
        *((command, False) for command in COMMANDS if command.name in ("add", "rm", "store move")),
        *(pytest.param(command, True, marks=pytest.mark.long) for command in COMMANDS),
    ],
    ids=lambda value: value.name if isinstance(value, Command) else ["some", "all"][value],
)


def failures_of(
    project: Project, command: Command, all_calls: bool
) -> Iterator[tuple[Point, str, str]]:
    """Yield the calls to fail, how, and when: each once, what changes something also from then on.

    A failure that stays is another one from call to call.
    """
    copy = project.copied("recorded")
    points = fault_trace.record(
        command.arguments, copy.folder, copy.folder.with_suffix(".trace"), also=READING
    )
    if not all_calls:
        points = [points[fault_trace.middle(points)]]
    for place, point in enumerate(points):
        yield point, "EIO", f"{point.k}"
        if point.name not in READING:
            yield point, LATER[place % len(LATER)], f"{point.k}+"


@sweeps
def test_a_call_that_fails_is_said_in_one_line_or_does_not_matter(
    project: Project, command: Command, all_calls: bool
) -> None:
    """Whatever call fails, once or from then on: all is whole, and the repeat does the work."""
    command.prepare(project)
    project.tags.clear()
    settled(project)
    hurt = hurt_in(project)
    unharmed = project.copied("unharmed")
    assert run(unharmed, command.arguments).status == 0
    after = state_of(unharmed)
    failed = 0
    for place, (point, code, when) in enumerate(failures_of(project, command, all_calls)):
        copy = project.copied(f"failed-{place}")
        done, trace = fault_trace.inject(
            point, f"error={code}:when={when}", command.arguments, copy.folder, also=READING
        )
        told = (point, code, when, done.stdout, done.stderr)
        if not fault_trace.struck(trace, copy.folder):
            continue  # something that is no business of mvc's
        failed += 1
        check_failed(copy, command, (done.returncode, done.stderr), after, hurt, told)
        shutil.rmtree(copy.folder)
    tally.count("calls failed", failed, of=f"{command}, the program")
    assert failed
