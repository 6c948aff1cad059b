"""A warning points at the line that called, not into mvc."""

from __future__ import annotations

import inspect
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.registry_builders import Project


def damage(project: Project) -> None:
    record = project.mvc / "manifest" / "net" / "versions" / "v1.yaml"
    record.chmod(0o644)
    record.write_bytes(b"")
    (project.mvc / "manifest" / "net" / "family.yaml").unlink()


def remove_store(project: Project) -> None:
    shutil.rmtree(project.mvc / "store")


# What is done before, and a call that warns: at once, behind a property, in a generator.
CALLS: dict[str, tuple[Callable[[Project], None] | None, Callable[[Any, Project], object]]] = {
    "no number": (None, lambda r, p: r.add("net", p.file(b"2"), {"acc": float("nan")})),
    "a guess": (None, lambda r, p: r.add("other", p.file(b"2"), {"strange": 1})),
    "no such value": (None, lambda r, p: r.search("lr > 1")),
    "the store": (remove_store, lambda r, p: r.get("net")),
    "a record": (damage, lambda r, p: r.list()),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_warning_points_at_the_line_that_called(project: Project, what: str) -> None:
    """However deep in mvc it is found, so that a notebook shows the line to look at."""
    project.add(b"1")
    before, call = CALLS[what]
    if before is not None:
        before(project)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(project.registry(), project)
    line = inspect.getsourcelines(call)[1]
    assert caught
    assert {(item.filename, item.lineno) for item in caught} == {(__file__, line)}
