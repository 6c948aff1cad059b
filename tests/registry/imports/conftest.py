"""A server that this test may tell to behave badly, and pauses short enough to wait for."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from mvc.registry.imports import download
from tests.support.file_server import Server, serving

BODY = random.Random(7).randbytes(300_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve ``BODY``; a proxy that the machine may have is gone round."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSE", 0.01)
    with serving(BODY) as served:
        yield served
