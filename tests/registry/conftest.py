"""What the tests of the registry stand on: a project each, an author, a working folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.registry_builders import Project, known_author


@pytest.fixture(autouse=True)
def author(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Work in an empty folder, as a known author."""
    with known_author(tmp_path_factory.mktemp("working")):
        yield


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project: the first ``add`` makes its registry."""
    return Project(tmp_path)
