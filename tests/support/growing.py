"""Families of many versions, and how many records are read of them.

Public names: ``grow``, ``counted``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from mvc.registry import record as records
from mvc.registry.manifest import Manifest
from mvc.registry.sealed import now
from tests.support.registry_builders import Project


def grow(project: Project, count: int, family: str = "net", **facts: Any) -> None:
    """Write versions that have the bytes of ``net/v1``."""
    manifest = project.registry().manifest
    first, _ = manifest.record("net", 1)
    last = max(manifest.numbers(family), default=0)
    project.record(1, family).parent.mkdir(parents=True, exist_ok=True)
    for number in range(last + 1, last + 1 + count):
        made = replace(first, family=family, id=f"{number:032x}", created=now(), **facts)
        project.record(number, family).write_bytes(records.encode(made))


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count how often records are opened, and folders of versions listed."""
    counts: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        for name in ("record_bytes", "numbers"):
            original = getattr(Manifest, name)

            def counting(*given: Any, name: str = name, original: Any = original) -> Any:
                counts[name] += 1
                return original(*given)

            patch.setattr(Manifest, name, counting)
        yield counts
