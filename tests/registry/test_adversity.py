"""Files that change, disks that fill up, files larger than memory: nothing is lost or half done."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvc import Conflict, MvcError, fileio
from mvc.registry.intake.source import SourceFile
from tests.support.registry_builders import MIB, Project, files_in, finished, noise, python


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def appended(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"!")


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


def rewritten_under_its_old_times(path: Path) -> None:
    times = path.stat()
    with open(path, "r+b") as file:
        file.write(b"!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES = [truncated, emptied, appended, replaced, rewritten_under_its_old_times]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [1000, 9 * MIB])
@pytest.mark.parametrize("at", ["first", "last"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    size: int,
    at: str,
) -> None:
    """However a file is changed under the reader, no version is made and nothing is left."""
    project.add(b"before")
    before = stored(project)
    path = project.file(noise(size), "growing.bin")
    real = SourceFile.read
    changed: list[int] = []

    def read(self: SourceFile, offset: int, length: int) -> bytes:
        if at == "last" and offset + length < size:
            return real(self, offset, length)
        data = real(self, offset, length) if at == "last" else b""
        if not changed:
            changed.append(offset)
            time.sleep(0.02)  # a change within the same tick of the clock is unseen
            change(path)
        return data or real(self, offset, length)

    monkeypatch.setattr(SourceFile, "read", read)
    with pytest.raises(Conflict, match="changed while it was read"):
        project.registry().add("net", path)
    assert changed
    assert stored(project) == before


FULL = """
import resource, sys
from mvc import ModelRegistry
registry = ModelRegistry(sys.argv[1])
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    registry.add("net", sys.argv[2])
except OSError as error:
    print(error.errno)
else:
    print("added")
"""


@pytest.mark.parametrize("limit", [1, 100, 5000, MIB, 5 * MIB])
def test_a_file_that_may_not_grow_further_stops_add_and_nothing_else(
    project: Project, limit: int
) -> None:
    """Where a write is refused half-way the source is untouched and there is no version."""
    project.add(noise(300_000, 2))
    before = stored(project)
    data = noise(6 * MIB)
    path = project.file(data, "large.bin")
    assert finished(python(FULL, project.folder, path, limit)).strip() == str(errno.EFBIG)
    assert path.read_bytes() == data
    assert stored(project) == before
    assert project.registry().fsck("full").ok
    assert project.registry().add("net", path).id == "net/v2"
    assert project.bytes_of("net") == data


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Project]:
    """A project on a file system of 12 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        yield Project(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_loses_nothing_whatever_is_still_free(
    small_disk: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write meets the full disk, the version is wholly there or not at all."""
    source = tmp_path / "model.bin"
    source.write_bytes(noise(3 * MIB))
    small_disk.registry().add("net", source)
    data = noise(4 * MIB + 1000, 2)
    source.write_bytes(data)
    with pytest.raises(MvcError, match="are free in") as raised:
        small_disk.registry().add("net", write(tmp_path / "huge.bin", noise(20 * MIB)))
    assert "mvc gc" in (raised.value.hint or "")
    monkeypatch.setattr(fileio, "free_space", lambda path: 1 << 40)
    outcomes = []
    filler = small_disk.folder / "filler"
    for left in [
        0,
        4096,
        8192,
        100_000,
        MIB,
        len(data),
        *range(len(data), len(data) + 40_000, 4096),
    ]:
        before = stored(small_disk)
        status = os.statvfs(small_disk.folder)
        filler.write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - left)))
        try:
            added = small_disk.registry().add("net", source).id
        except OSError as error:
            added = os.strerror(error.errno or 0)
        outcomes.append(added)
        filler.unlink()
        assert source.read_bytes() == data
        assert small_disk.registry().fsck("full").ok
        if added == "net/v2":
            break
        # A pack that was published before the disk was full is for gc to collect.
        after = stored(small_disk)
        assert {
            name: after[name] for name in after if name in before or "/packs/" not in name
        } == before
    assert small_disk.bytes_of("net@v2") == data
    assert set(outcomes[:-1]) == {os.strerror(errno.ENOSPC)}
    assert len(outcomes) > 5


MEMORY = """
import sys
from mvc import ModelRegistry
print(ModelRegistry(sys.argv[1]).add(sys.argv[2], sys.argv[3]).artifact.format)
if len(sys.argv) > 4:
    ModelRegistry(sys.argv[1]).checkout(sys.argv[2], sys.argv[4])
try:  # the peak since exec; getrusage has that of the process before, too
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
except OSError:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""
LARGE = 1_500_000_000
MOST_KIB = 400_000


@pytest.mark.skipif(not hasattr(os, "SEEK_HOLE"), reason="needs sparse files")
@pytest.mark.parametrize("known", [False, True])
def test_memory_stays_bounded_whatever_the_size(project: Project, known: bool) -> None:
    """A file of 1.5 GB, opaque or with one large tensor, is added in under 400 MB."""
    size = LARGE // 4096 * 4096
    header = b'{"w":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (size // 4, size)
    path = project.file(struct.pack("<Q", len(header)) + header if known else b"")
    os.truncate(path, path.stat().st_size + size)
    shown, peak = finished(python(MEMORY, project.folder, "net", path)).split()
    assert shown == ("safetensors" if known else "opaque")
    assert int(peak) < MOST_KIB
    assert sum(pack.stat().st_size for pack in project.packs) < MIB


@pytest.mark.long
def test_memory_stays_bounded_where_nothing_is_equal(project: Project) -> None:
    """1.5 GB of noise are added and checked out in under 400 MB."""
    path = project.folder / "model.bin"
    with open(path, "wb") as file:
        for _ in range(LARGE // (16 * MIB)):
            file.write(os.urandom(16 * MIB))
    _, peak = finished(python(MEMORY, project.folder, "net", path, project.folder / "out")).split()
    assert int(peak) < MOST_KIB


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def stored(project: Project) -> dict[str, bytes]:
    """Return everything that is no cache: it must not differ after a failure.

    ``family.yaml`` is one too: it is written anew when its folders are a second old.
    """
    left = files_in(project.mvc)
    return {
        name: data
        for name, data in left.items()
        if not name.startswith("cache/") and not name.endswith("/family.yaml")
    }
