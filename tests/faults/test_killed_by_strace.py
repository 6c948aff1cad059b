"""The real process, killed as it enters a system call of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import fault_trace, tally
from tests.support.fault_trace import Point
from tests.support.faults import Project, records_of, whole

Files = Callable[[str, int], Path]

IMPOSSIBLE = fault_trace.why_not()
pytestmark = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))

# The normal run takes every n-th call, every call that gives a name and the next.
THIN = 4
sweeps = pytest.mark.parametrize(
    "every", [THIN, pytest.param(1, marks=pytest.mark.long)], ids=["some", "all"]
)


def points_of(project: Project, arguments: list[str], every: int) -> list[Point]:
    """Return the calls to die in."""
    copy = project.copied("recorded")
    points = fault_trace.record(arguments, copy.folder, copy.folder.with_suffix(".trace"))
    assert len(points) > 8
    links = {n for n, point in enumerate(points) if point.name.startswith("link")}
    chosen = [p for n, p in enumerate(points) if n % every == 0 or links & {n, n - 1}]
    tally.count("kill points", len(chosen), of=f"mvc {arguments[0]}")
    return chosen


@sweeps
def test_a_killed_add_leaves_a_whole_version_or_none(
    project: Project, files: Files, every: int
) -> None:
    """Killed in any call, ``mvc add`` has made its version from the commit point on, else not."""
    source = files("noise", 3)
    arguments = ["add", "net", str(source), "-m", "acc=0.9"]
    before = records_of(project.open())
    outcomes = set()
    for place, point in enumerate(points_of(project, arguments, every)):
        copy = project.copied(f"killed-{place}")
        trace = fault_trace.kill_at(point, arguments, copy.folder)
        done = trace is None or fault_trace.committed(trace)
        after = records_of(whole(copy))
        assert {name: after[name] for name in before} == before, point
        assert after.keys() - before.keys() == ({"net/v3"} if done else set()), point
        copy.add("net", source)
        again = records_of(whole(copy))
        assert {name: again[name] for name in after} == after, point
        outcomes.add((trace is None, done))
    assert {(False, False), (False, True)} <= outcomes, "killed before the commit point and after"


@sweeps
def test_a_killed_tag_has_moved_or_not(project: Project, every: int) -> None:
    """Killed in any call, ``mvc tag`` has moved the tag from its commit point on, else not."""
    project.tags.clear()
    arguments = ["tag", "net@v2", "prod"]
    outcomes = set()
    for place, point in enumerate(points_of(project, arguments, every)):
        copy = project.copied(f"killed-{place}")
        trace = fault_trace.kill_at(point, arguments, copy.folder)
        done = trace is None or fault_trace.committed(trace)
        registry = whole(copy)
        assert registry.resolve("net@prod").id == ("net/v2" if done else "net/v1"), point
        registry.tag("net@v2", "prod")
        assert registry.resolve("net@prod").id == "net/v2"
        outcomes.add((trace is None, done))
    assert {(False, False), (False, True)} <= outcomes, "killed before the commit point and after"
