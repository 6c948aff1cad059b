"""A warning points at the line that called, not into mvc."""

from __future__ import annotations

import inspect
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from mvc import ModelWarning
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
    "half a model": (None, lambda r, p: r.add("net", p.file(b""))),
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


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "'model.bin' is empty"),
        (b"PK\3\4" + bytes(100), "'model.bin' is a zip archive that breaks off"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "'model.bin' is a pointer of git-lfs"),
    ],
)
def test_what_may_be_no_whole_model_is_warned_of_or_refused(
    project: Project, data: bytes, said: str
) -> None:
    """It is kept with a warning; who makes that an error has nothing registered."""
    project.add(b"before")
    with pytest.warns(ModelWarning, match=said):
        added = project.registry().add("net", project.file(data))
    assert added.notes[0].startswith(said)
    folder = project.folder / "folder"
    folder.mkdir()
    (folder / "model.bin").write_bytes(data)
    (folder / "config.json").write_bytes(b"{}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        for path in (project.folder / "model.bin", folder):
            with pytest.raises(ModelWarning, match=said.partition("' ")[2]):
                project.registry().add("net", path)
    assert project.registry().list("net") == ["v1", "v2"]
    assert project.registry().fsck().notes == ()


def test_what_was_left_out_of_a_folder_is_no_warning(project: Project) -> None:
    """It is told in ``notes``: that a cache is no part of a model is as it should be."""
    folder = project.folder / "folder"
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache" / "x").write_bytes(b"x")
    (folder / "model.bin").write_bytes(b"weights")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        added = project.registry().add("net", folder)
    assert added.notes == (f"left out of '{folder}': .cache",)
