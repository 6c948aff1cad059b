"""The real process, killed as it enters a system call of its own."""

from __future__ import annotations

import shutil

import pytest

from tests.support import fault_trace, tally
from tests.support.fault_commands import COMMANDS, Command, hurt_in, run, state_of
from tests.support.fault_trace import Point
from tests.support.faults import Project, whole
from tests.support.registry_builders import files_in

# What a command line has done, apart from where the bytes are.
VISIBLE = ("versions", "tags")

IMPOSSIBLE = fault_trace.why_not()
pytestmark = [
    pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE)),
    pytest.mark.filterwarnings("ignore::mvc.StoreWarning"),  # a store in the middle of a move
]

sweeps = pytest.mark.parametrize(
    "all_calls", [False, pytest.param(True, marks=pytest.mark.long)], ids=["some", "all"]
)
commands = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def points_of(project: Project, command: Command, all_calls: bool) -> list[Point]:
    """Return the calls to die in: all, or one that gives or takes a name and the one after it.

    That is the commit point where there is one.
    """
    copy = project.copied("recorded")
    points = fault_trace.record(command.arguments, copy.folder, copy.folder.with_suffix(".trace"))
    if not all_calls:
        chosen = fault_trace.middle(points)
        points = points[chosen : chosen + 2]
    tally.count("kill points", len(points), of=str(command))
    return points


@sweeps
@commands
def test_a_killed_command_has_done_its_work_or_can_be_repeated(
    project: Project, command: Command, all_calls: bool
) -> None:
    """Killed in any call, a command leaves a whole registry with all that was acknowledged.

    What it makes is there from the commit point on, else not. The same
    command then succeeds, or says that it was done, and all is as if nobody
    had been killed. A repair hurts nothing more, and takes no bytes away.
    """
    command.prepare(project)
    project.tags.clear()  # some commands move them; ``state_of`` has them, too
    hurt = hurt_in(project)
    bytes_before = stored(project) if hurt else set()
    before = {} if hurt else state_of(project)
    unharmed = project.copied("unharmed")
    assert run(unharmed, command.arguments).status == 0
    after = state_of(unharmed)
    outcomes = set()
    for place, point in enumerate(points_of(project, command, all_calls)):
        copy = project.copied(f"killed-{place}")
        trace = fault_trace.kill_at(point, command.arguments, copy.folder)
        done = trace is None or fault_trace.committed(trace)
        if hurt:
            assert hurt_in(copy) <= hurt, point
        elif before:
            whole(copy)
            found, expected = state_of(copy), after if done else before
            assert [found[key] for key in VISIBLE] == [expected[key] for key in VISIBLE], point
        assert bytes_before <= stored(copy), point
        ran = run(copy, command.arguments)
        assert ran.status in command.again, (point, ran)
        whole(copy)
        assert state_of(copy) == after, point
        assert bytes_before <= stored(copy), point
        shutil.rmtree(copy.folder)
        outcomes.add((trace is None, done))
    assert outcomes - {(True, True)}, "killed"
    if any(before and before[key] != after[key] for key in VISIBLE):
        assert {(False, False), (False, True)} <= outcomes, "before the commit point and after"


def stored(project: Project) -> set[bytes]:
    """Return the contents of all files that count."""
    return {
        data
        for name, data in files_in(project.folder / ".mvc").items()
        if name.startswith(("manifest/", "store/")) and not name.endswith("family.yaml")
    }
