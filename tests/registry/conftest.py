"""What the tests of the registry stand on: a project each, an author, a working folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mvc.store import Store
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


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The plain size of every object that is read from the store."""
    sizes: list[int] = []
    get = Store.get_object

    def counting(store: Store, digest: Any, *args: Any, **options: Any) -> Any:
        data = get(store, digest, *args, **options)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(Store, "get_object", counting)
    return sizes
