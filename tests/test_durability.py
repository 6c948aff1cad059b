"""How far a command goes until what it wrote survives a power cut is the user's choice alone."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvc import ModelRegistry, UsageError, durability, fileio
from tests.cli.running import mvc


@pytest.fixture(autouse=True)
def chosen() -> Iterator[None]:
    """Give the next test the level that is in force unless one is chosen."""
    yield
    durability.choose("full")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the descriptors that are synced, as they are."""
    found: list[int] = []
    monkeypatch.setattr(os, "fsync", found.append)
    return found


def add_and_check_out(folder: Path) -> None:
    """Do what syncs most."""
    source = folder / "model.bin"
    source.write_bytes(b"weights" * 100)
    registry = ModelRegistry(folder)
    registry.add("net", source, tags=["prod"])
    registry.checkout("net", folder / "out.bin")


def test_unless_told_everything_is_synced(tmp_path: Path, synced: list[int]) -> None:
    """Without ``MVC_DURABILITY``, or with ``full``, an ``add`` syncs before it answers."""
    add_and_check_out(tmp_path)
    assert len(synced) > 10


def test_none_syncs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: list[int]
) -> None:
    """With ``none`` a registry is made, added to, tagged and checked out without one sync."""
    monkeypatch.setenv("MVC_DURABILITY", "none")
    add_and_check_out(tmp_path)
    assert synced == []
    monkeypatch.setenv("MVC_DURABILITY", "full")
    ModelRegistry(tmp_path).tag("net", "again")
    assert synced


def test_a_registry_does_not_choose(tmp_path: Path, synced: list[int]) -> None:
    """What ``config.yaml`` says of it counts for nothing: a registry may be somebody else's."""
    add_and_check_out(tmp_path)
    config = tmp_path / ".mvc" / "config.yaml"
    fileio.replace(config, config.read_bytes() + b'durability: "none"\n')
    synced.clear()
    ModelRegistry(tmp_path).tag("net", "again")
    assert synced


@pytest.mark.parametrize("word", ["FULL", "fast", "0"])
def test_another_word_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """Nobody is to believe that something is durable, or not, because a word was misspelt."""
    monkeypatch.setenv("MVC_DURABILITY", word)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"MVC_DURABILITY is '{word}'"):
        ModelRegistry(tmp_path)
    done = mvc("init")
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines() == [
        f"error: MVC_DURABILITY is '{word}'",
        f"hint: it is {', '.join(durability.LEVELS[:-1])} or {durability.LEVELS[-1]}",
    ]
    assert os.listdir(tmp_path) == []


class Mac:
    """Answers ``F_FULLFSYNC`` as told, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
        self.count = 0
        self._code = code
        monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
        monkeypatch.setattr(fcntl, "fcntl", self._answer)

    def _answer(self, descriptor: int, command: int) -> int:
        assert command == 51
        self.count += 1
        if self._code:
            raise OSError(self._code, os.strerror(self._code))
        return 0


def test_macos_is_asked_to_empty_the_drives_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: list[int]
) -> None:
    """Where there is ``F_FULLFSYNC`` it is what syncs a file and a folder, and ``fsync`` is not."""
    mac = Mac(monkeypatch)
    fileio.replace(tmp_path / "a", b"a", durable=True)
    assert (mac.count, synced) == (2, [])


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOTTY, errno.EINVAL])
def test_where_macos_cannot_there_is_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: list[int], code: int
) -> None:
    """A file system that does not know ``F_FULLFSYNC``, such as a share, gets ``fsync``."""
    mac = Mac(monkeypatch, code)
    fileio.replace(tmp_path / "a", b"a", durable=True)
    assert (mac.count, len(synced)) == (2, 2)


def test_a_full_sync_that_fails_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: list[int]
) -> None:
    """Any other answer means lost bytes: no ``fsync`` is to say that all is well."""
    mac = Mac(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        fileio.replace(tmp_path / "a", b"a", durable=True)
    assert (mac.count, synced, os.listdir(tmp_path)) == (1, [], [])
