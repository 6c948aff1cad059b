"""What the fault suites share: a project with two versions and a tag, and files to add."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.faults import Project, make_noise, make_weights
from tests.support.volumes import CUTS, Unavailable, Volume


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str, int], Path]:
    """Make a source file outside the project: ``weights`` has tensors, ``noise`` has none."""

    def make(kind: str, seed: int) -> Path:
        path = tmp_path / f"{kind}-{seed}.bin"
        (make_weights if kind == "weights" else make_noise)(path, seed)
        return path

    return make


@pytest.fixture
def project(tmp_path: Path, files: Callable[[str, int], Path]) -> Project:
    """Two versions of ``net``, the first bearing the tag ``prod``."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    made.add("net", files("weights", 1), metrics={"acc": 0.5}, tags=["prod"])
    made.add("net", files("noise", 2), metrics={"acc": 0.7})
    made.tags["net@prod"] = "net/v1"
    return made


@pytest.fixture(params=CUTS)
def volume(request: pytest.FixtureRequest, tmp_path: Path, synced: None) -> Iterator[Volume]:
    """An empty file system of its own, whose power fails in one of the ways."""
    try:
        made = Volume(request.param, tmp_path / "image", tmp_path / "mounted")
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield made
    made.unmount()
