"""A part file is one process's at a time, and keeps what was written to it."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from mvc.errors import FormatError
from mvc.partfile import PartFile


def claim(path: Path) -> PartFile:
    part = PartFile.claim(path)
    assert part is not None
    return part


def test_what_was_written_is_there_for_the_next(tmp_path: Path) -> None:
    """The next holder writes on at the end; or gives all up."""
    first = claim(tmp_path / "part")
    first.write([b"one"])
    first.close()
    second = claim(tmp_path / "part")
    second.write([b"two"])
    assert (second.size, second.read(0, 10)) == (6, b"onetwo")
    second.empty()
    second.write([b"three"])
    second.close()
    assert (tmp_path / "part").read_bytes() == b"three"


def test_only_one_holds_it(tmp_path: Path) -> None:
    """While one holds it nobody else does; afterwards the next."""
    first = claim(tmp_path / "part")
    assert PartFile.claim(tmp_path / "part") is None
    first.close()
    claim(tmp_path / "part").close()


def test_who_waited_does_not_write_to_what_has_another_name_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was published between opening and locking is not held."""
    (tmp_path / "part").write_bytes(b"whole")
    lock = fcntl.flock

    def slow(descriptor: int, operation: int) -> None:
        (tmp_path / "part").rename(tmp_path / "model.pt")
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    assert PartFile.claim(tmp_path / "part") is None


def test_without_locks_each_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can tell who holds a file, no two processes share one."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    first, second = claim(tmp_path / "part"), claim(tmp_path / "part")
    assert first.path != second.path
    first.discard()
    second.discard()


def test_a_link_or_folder_in_its_place_is_not_written_to(tmp_path: Path) -> None:
    """What somebody put there leads nowhere else."""
    (tmp_path / "other").write_bytes(b"mine")
    (tmp_path / "part").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic link"):
        PartFile.claim(tmp_path / "part")
    (tmp_path / "pipe").mkdir()
    with pytest.raises((FormatError, OSError)):
        PartFile.claim(tmp_path / "pipe")
    assert (tmp_path / "other").read_bytes() == b"mine"
