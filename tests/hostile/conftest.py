"""What the hostile suites share: a sound registry to tamper with, and a place outside of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.faults import Project, make_noise


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """One sound version of ``net``; beside the project another file, to be added."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    source = tmp_path / "noise.bin"
    make_noise(source, 1)
    (tmp_path / "other.bin").write_bytes(b"other")
    made.add("net", source, metrics={"acc": 0.5})
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a secret, in which nothing may change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("mvc: 1\nhidden: true\n")
    return folder
