"""Reading ahead: a source is read once, in order, and nothing of it outlives a failure."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from safetensors.numpy import save

from mvc import Conflict
from mvc.registry.intake.source import SourceFile
from tests.support.registry_builders import MIB, Project


def weights(tensors: int) -> bytes:
    random = np.random.default_rng(0)
    data: bytes = save({f"w{n}": random.normal(size=1 << 19).astype("<f4") for n in range(tensors)})
    return data


def test_every_byte_of_a_source_is_read_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole-file and chunk digests, and what is stored, come from one pass over the file."""
    data = weights(12)
    path = project.file(data, "model.safetensors")
    read: list[tuple[int, int]] = []
    original = SourceFile.read

    def counted(self: SourceFile, offset: int, size: int) -> bytes:
        read.append((offset, size))
        return original(self, offset, size)

    monkeypatch.setattr(SourceFile, "read", counted)
    project.registry().register("m", path)
    tensors = sorted(piece for piece in read if piece[1] > MIB)
    assert len(tensors) == 12
    assert sum(size for _, size in tensors) == 12 * 2 * MIB
    assert sum(size for _, size in read) < len(data) + MIB


def test_small_tensors_are_read_together(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of very many tensors takes as many reads as it has MiB, not as it has tensors."""
    random = np.random.default_rng(0)
    data = save({f"w{n:05}": random.normal(size=512).astype("<f4") for n in range(4000)})
    path = project.file(data, "model.safetensors")
    read: list[int] = []
    original = SourceFile.read

    def counted(self: SourceFile, offset: int, size: int) -> bytes:
        read.append(size)
        return original(self, offset, size)

    monkeypatch.setattr(SourceFile, "read", counted)
    version = project.registry().register("m", path)
    assert len(read) < 20
    assert project.registry().checkout(version, project.folder / "back").path.read_bytes() == data


def test_nothing_goes_on_reading_after_a_failure(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When ``add`` gives up, no thread of it is left that would read a file closed since."""
    path = project.file(weights(12), "model.safetensors")
    before = set(threading.enumerate())
    original = SourceFile.read

    def cut(self: SourceFile, offset: int, size: int) -> bytes:
        found = original(self, offset, size)
        return found[:-1] if offset > 6 * MIB else found

    monkeypatch.setattr(SourceFile, "read", cut)
    with pytest.raises(Conflict, match="ends at"):
        project.registry().register("m", path)
    assert set(threading.enumerate()) == before
