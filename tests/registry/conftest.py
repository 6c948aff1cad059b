"""What the tests of the registry stand on: a project each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mvc.store import Store
from tests.support.registry_builders import Project


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
