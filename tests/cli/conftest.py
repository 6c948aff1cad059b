"""A folder with a registry in it, as every test of a command needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import mvc, write_model


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def registry(here: Path) -> Path:
    """A working folder with a registry and ``model.safetensors``, not registered yet."""
    assert mvc("init").status == 0
    write_model(here / "model.safetensors")
    return here


@pytest.fixture
def resnet18(registry: Path) -> Path:
    """A registry with ``resnet18`` v1 and v2, the second better."""
    write_model(registry / "better.safetensors", bias=0.5)
    assert mvc("add", "resnet18", "model.safetensors", "-m", "acc=0.9").status == 0
    assert mvc("add", "resnet18", "better.safetensors", "-m", "acc=0.95").status == 0
    return registry
