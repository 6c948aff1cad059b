"""``mvc init`` in a clone: what it says of bytes that git did not bring."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.running import mvc


def clone(registry: Path, name: str) -> Path:
    """Copy what git would carry."""
    to = registry / name
    shutil.copytree(registry / ".mvc" / "manifest", to / ".mvc" / "manifest")
    return to


def test_init_counts_the_versions_that_lack_their_bytes(resnet18: Path) -> None:
    """On an empty store both are missing, on the shared one none, and nothing is said."""
    alone, shared = clone(resnet18, "alone"), clone(resnet18, "shared")
    note = "the bytes of 2 versions are not here: mvc store alternates --add PATH"
    assert note in mvc("-C", str(alone), "init").err
    said = mvc("-C", str(shared), "init", "--store", str(resnet18 / ".mvc" / "store")).err
    assert "are not here" not in said
    assert "next: mvc add" in said


@pytest.mark.parametrize("name", ["versions/v1.yaml", "versions/v2.yaml"])
def test_damage_keeps_no_clone_from_its_store(resnet18: Path, name: str) -> None:
    """The registry is made and named, whatever can be counted."""
    to = clone(resnet18, "clone")
    damaged = to / ".mvc" / "manifest" / "resnet18" / name
    damaged.chmod(0o644)
    damaged.write_bytes(b"\xff")
    done = mvc("-C", str(to), "init")
    assert (done.status, done.last) == (0, str(to / ".mvc"))


def test_an_empty_store_elsewhere_is_told(tmp_path: Path) -> None:
    """After a misspelt path the answer says that there is nothing in the store."""
    done = mvc("-C", str(tmp_path), "init", "--store", str(tmp_path / "temas"))
    assert "the store in 'temas' is empty" in done.err
