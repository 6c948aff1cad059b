"""The real process, interrupted or asked to end while it is in a system call of its own."""

from __future__ import annotations

import shutil

import pytest

from mvc.fileio import PRIVATE_PREFIX
from tests.support import fault_trace, tally
from tests.support.fault_commands import COMMANDS, run, state_of
from tests.support.faults import Project, whole
from tests.support.registry_builders import files_in

IMPOSSIBLE = fault_trace.why_not()
pytestmark = [
    pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE)),
    pytest.mark.filterwarnings("ignore::mvc.StoreWarning"),  # a store in the middle of a move
]

LONG = ("add of a folder", "gc", "store move", "checkout of a folder")
WORDS = {"INT": (130, "error: interrupted\n"), "TERM": (143, "error: terminated\n")}


@pytest.mark.parametrize("all_calls", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", LONG)
def test_whoever_is_interrupted_takes_away_what_was_staged(
    project: Project, name: str, all_calls: bool
) -> None:
    """Ctrl-C and SIGTERM end a command with one line, nothing half done and nothing left behind.

    The same command then does the work. Only who is interrupted in that leaves the rest to gc.
    """
    command = next(command for command in COMMANDS if command.name == name)
    command.prepare(project)
    project.tags.clear()
    unharmed = project.copied("unharmed")
    assert run(unharmed, command.arguments).status == 0
    after = state_of(unharmed)
    copy = project.copied("recorded")
    points = fault_trace.record(command.arguments, copy.folder, copy.folder.with_suffix(".trace"))
    middle = fault_trace.middle(points)
    ended = set()
    for place, point in enumerate(points if all_calls else points[middle : middle + 2]):
        kind = ("INT", "TERM")[place % 2]
        copy = project.copied(f"interrupted-{place}")
        what = f"signal={kind}:when={point.k}"
        done, _ = fault_trace.inject(point, what, command.arguments, copy.folder)
        if done.returncode:
            status, line = WORDS[kind]
            assert (done.returncode, done.stderr.splitlines(True)[-1]) == (status, line), point
            ended.add(kind)
        whole(copy)
        if not point.name.startswith(("unlink", "rmdir")):  # then it was about that, for gc to end
            assert staged(copy) == [], point
        assert run(copy, command.arguments).status == 0, point
        assert state_of(copy) == after, point
        shutil.rmtree(copy.folder)
        tally.count("interruptions", of=str(command))
    assert ended == {"INT", "TERM"}


def staged(project: Project) -> list[str]:
    """Return the files that have no name of their own yet."""
    return [
        name for name in files_in(project.folder) if PRIVATE_PREFIX in name or "staging" in name
    ]
