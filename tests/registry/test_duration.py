"""Lengths of time, as the command line and Python are given them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mvc import UsageError
from mvc.registry.duration import duration
from tests.support.gc_builders import dated
from tests.support.registry_builders import Project, noise

WRITTEN = {
    "0": timedelta(0),
    "0s": timedelta(0),
    "90s": timedelta(seconds=90),
    "30m": timedelta(minutes=30),
    "12h": timedelta(hours=12),
    "3d": timedelta(days=3),
    "2w": timedelta(weeks=2),
}


def test_a_time_is_written_with_its_unit() -> None:
    """Zero needs none; a ``timedelta`` is taken as it is."""
    assert {text: duration(text, "grace") for text in WRITTEN} == WRITTEN
    assert duration(timedelta(hours=5), "grace") == timedelta(hours=5)
    assert duration(0, "grace") == timedelta(0)


@pytest.mark.parametrize("text", ["", "14", "soon", "-1d", "1.5d", "d", "1 d", "1D", "1d\n", "٣d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """A number alone might be days or seconds, so it is neither."""
    with pytest.raises(UsageError, match="is no time") as raised:
        duration(text, "grace")
    assert "3d" in (raised.value.hint or "")


@pytest.mark.parametrize("value", [14, -1, 0.0, True, False, b"14d", [], timedelta(days=-1)])
def test_gc_takes_no_number_for_a_time(project: Project, value: Any) -> None:
    """Nothing is given up; the hint is what to write."""
    project.add(noise(3000))
    project.registry().rm("net@v1")
    with pytest.raises(UsageError, match="grace=") as raised:
        project.registry().gc(value)
    assert 'grace="14d"' in (raised.value.hint or "")
    project.registry().restore("net@v1")
    project.registry().rm("net@v1")
    assert [item.name for item in project.registry().gc(grace=0).items] == ["net/v1"]


def test_gc_takes_a_time_as_it_is_written(project: Project) -> None:
    """What was withdrawn longer ago than the text says goes, and nothing else."""
    project.add(noise(3000))
    project.registry().rm("net@v1")
    dated(project, 1, timedelta(days=3))
    assert not project.registry().gc("4d", dry_run=True).items
    assert [item.name for item in project.registry().gc("2d", dry_run=True).items] == ["net/v1"]


@pytest.mark.parametrize("longest", ["999999w", timedelta.max])
def test_a_time_beyond_the_calendar_keeps_everything(
    project: Project, longest: str | timedelta
) -> None:
    """The longest time that can be given is no error."""
    project.add(noise(3000))
    project.registry().rm("net@v1")
    done = project.registry().gc(longest)
    assert (done.freed, [item.name for item in done.later]) == (0, ["net/v1"])
