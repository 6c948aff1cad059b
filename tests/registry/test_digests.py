"""Notes of what the user's files are: when they are believed, and what they save."""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from mvc import durability, fileio
from mvc.digest import Digest, checksum_of, digest_of, digest_of_open
from mvc.errors import Conflict, StoreWarning
from mvc.registry import digests
from mvc.registry.checkout import writing
from mvc.registry.digests import KEPT, Note, Notes, stamp
from mvc.registry.intake.source import SourceFile
from tests.support.registry_builders import MIB, Project, noise

LARGE = noise(6 * MIB)
HEADERS = 64 << 10


@pytest.fixture
def left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever is written be left alone for a minute before anything reads it."""
    monkeypatch.setattr(digests, "SETTLED_NS", 0)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the bytes that are read of sources."""
    sizes: list[int] = []
    whole = SourceFile.read

    def counted(self: SourceFile, offset: int, size: int) -> bytes:
        data = whole(self, offset, size)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(SourceFile, "read", counted)
    return sizes


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def noted(cache: Path, path: Path, identity: str = "net/v1") -> Note | None:
    """Settle, read and note a file in one command, and return what the next one believes."""
    notes = Notes(cache)
    with open(path, "rb") as file:
        digest, status = notes.digest(path, file.fileno())
    notes.note(path, identity, digest, status)
    notes.save()
    return believed(cache, path)


def believed(cache: Path, path: Path) -> Note | None:
    notes = Notes(cache)
    with open(path, "rb") as file:
        return notes.believed(path, notes.settle(path, file.fileno()))


# What a second ``add`` reads.


@pytest.mark.usefixtures("left_alone")
def test_an_unchanged_file_is_added_again_unread(project: Project, read: list[int]) -> None:
    """Of a file that is noted, the second ``add`` reads headers, and makes a version like it."""
    project.add(LARGE)
    assert sum(read) >= len(LARGE)
    read.clear()
    added = project.registry().add("net", project.folder / "model.bin", {"acc": 0.9})
    assert sum(read) < HEADERS
    assert (added.id, added.stored, added.reused) == ("net/v2", 0, len(LARGE))
    assert added.artifact == project.registry().resolve("net@v1").artifact
    assert added.same_bytes == "net/v1"
    assert project.registry().fsck("full").ok


@pytest.mark.usefixtures("left_alone")
def test_what_is_said_of_a_file_comes_from_its_headers(project: Project, read: list[int]) -> None:
    """Weights, tensors and framework are as at first, and not what a user said then."""
    path = project.folder / "model.safetensors"
    save_file({"w": np.frombuffer(LARGE, "float32").copy()}, path)
    registry = project.registry()
    first = registry.add("net", path, framework="mine")
    read.clear()
    again = registry.add("other", path, if_changed=True)
    assert sum(read) < HEADERS
    assert again.artifact == first.artifact
    assert again.weights == first.weights
    assert (first.model, again.model) == ({"framework": "mine"}, {})
    assert not registry.add("other", path, if_changed=True).new


@pytest.mark.usefixtures("left_alone")
def test_an_unchanged_folder_is_added_again_unread(project: Project, read: list[int]) -> None:
    """Of a folder the models stay unread; any other file that differs makes another version."""
    folder = project.folder / "bert"
    folder.mkdir()
    (folder / "model.bin").write_bytes(LARGE)
    (folder / "config.json").write_bytes(b"{}")
    registry = project.registry()
    first = registry.add("net", folder)
    read.clear()
    assert registry.add("net", folder).artifact == first.artifact
    assert sum(read) < HEADERS
    (folder / "config.json").write_bytes(b"[]")
    changed = registry.add("net", folder)
    assert changed.artifact.digest != first.artifact.digest
    (folder / "model.bin").chmod(0o755)
    assert registry.add("net", folder).artifact.digest != changed.artifact.digest
    (folder / "more.bin").write_bytes(b"more")
    assert registry.add("net", folder).artifact.files == 3
    assert registry.fsck("full").ok


def drop_packs(project: Project) -> None:
    for pack in project.packs:
        pack.unlink()


def damage_object(project: Project) -> None:
    (pack,) = project.packs
    data = bytearray(pack.read_bytes())
    data[5 * MIB] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)


def drop_record(project: Project) -> None:
    shutil.rmtree(project.mvc / "manifest")
    (project.mvc / "manifest").mkdir()


@pytest.mark.usefixtures("left_alone")
@pytest.mark.parametrize("lose", [drop_packs, damage_object, drop_record])
def test_what_was_lost_since_is_read_and_stored_again(
    project: Project, read: list[int], lose: Callable[[Project], None]
) -> None:
    """A note speaks of the user's file, never for the store: what that lacks is stored again."""
    project.add(LARGE)
    lose(project)
    read.clear()
    told = lose is drop_record  # and its number is not given again
    with pytest.warns(StoreWarning, match="had a version v1") if told else nullcontext():
        added = project.registry().add("net", project.folder / "model.bin")
    assert sum(read) >= len(LARGE)
    assert added.reused < len(LARGE) or lose is drop_record
    assert project.registry().checkout(added.id, project.folder / "out").written
    assert (project.folder / "out").read_bytes() == LARGE


def test_a_file_just_written_is_read(project: Project, read: list[int]) -> None:
    """Who wrote within the last minute may write again at the same time: nothing is believed."""
    project.add(LARGE)
    read.clear()
    project.registry().add("net", project.folder / "model.bin")
    assert sum(read) >= len(LARGE)


# What a second ``checkout`` reads.


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the inodes of files whose digest is taken."""
    inodes: list[int] = []

    def counted(descriptor: int, *_: object) -> Digest:
        inodes.append(os.fstat(descriptor).st_ino)
        return digest_of_open(descriptor)

    monkeypatch.setattr(digests, "digest_of_open", counted)
    monkeypatch.setattr(writing, "digest_of_open", counted)
    return inodes


@pytest.mark.usefixtures("left_alone")
def test_a_checkout_onto_what_is_there_reads_nothing(project: Project, opened: list[int]) -> None:
    """What was added, or looked at by ``status``, is known to be right, or another version."""
    target = project.folder / "model.bin"
    project.add(LARGE)
    assert not project.registry().checkout("net", target).written
    assert opened == []
    project.add(noise(MIB))
    opened.clear()
    assert project.registry().checkout("net@v1", target).written
    assert opened == []
    project.registry().status(project.folder)
    assert opened == [target.stat().st_ino]
    assert not project.registry().checkout("net@v1", target).written
    assert opened == [target.stat().st_ino]
    target.write_bytes(b"mine")
    with pytest.raises(Conflict):
        project.registry().checkout("net@v1", target)
    assert target.read_bytes() == b"mine"


@pytest.mark.usefixtures("left_alone")
def test_a_checkout_of_a_folder_reads_what_is_not_noted(
    project: Project, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models of a folder are known; its small files are read, and not even synced."""
    folder = project.folder / "net"
    folder.mkdir()
    (folder / "model.bin").write_bytes(LARGE)
    (folder / "config.json").write_bytes(b"{}")
    project.registry().add("net", folder)
    (folder / "model.bin").write_bytes(LARGE[:MIB])
    project.registry().add("net", folder)
    synced: list[int] = []
    monkeypatch.setattr(fileio, "sync_open", lambda fd: synced.append(os.fstat(fd).st_ino))
    assert not project.registry().checkout("net@v2", folder).written
    assert opened == [(folder / "config.json").stat().st_ino]
    assert synced == [(folder / "model.bin").stat().st_ino]
    assert project.registry().checkout("net@v1", folder).written
    assert (folder / "model.bin").read_bytes() == LARGE
    assert (folder / "model.bin").stat().st_ino not in opened


# When a note is believed.


def write(path: Path) -> None:
    path.write_bytes(b"other")


def replace_alike(path: Path) -> None:
    """Put another file in its place, of the same size and time of modification."""
    status, new = path.stat(), path.with_name("new")
    new.write_bytes(b"other")
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.rename(new, path)


def write_in_disguise(path: Path) -> None:
    """Write, and set the time of modification back."""
    status = path.stat()
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.usefixtures("left_alone")
@pytest.mark.parametrize("change", [write, replace_alike, write_in_disguise])
def test_every_change_is_seen(cache: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    """What was written to or replaced is not believed, however it is made to look the same."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"bytes")
    assert noted(cache, path) is not None
    time.sleep(0.02)  # the system's clock goes in steps
    change(path)
    assert believed(cache, path) is None


@pytest.mark.usefixtures("left_alone", "synced")
@pytest.mark.parametrize("level", durability.LEVELS)
def test_what_is_written_through_a_mapping_is_seen(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """A page that was changed before the file was noted changes its times with the next byte."""
    monkeypatch.setattr(durability, "_chosen", level)
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(mmap.PAGESIZE))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0] = 1
        before = path.stat().st_mtime_ns
        time.sleep(0.02)
        mapped[0] = 2
        assert path.stat().st_mtime_ns == before, "or this test shows nothing here"
        assert noted(cache, path) is not None
        time.sleep(0.02)
        mapped[0] = 3
        assert believed(cache, path) is None
        note = noted(cache, path)
        assert note is not None
        assert note.digest == digest_of(path.read_bytes())


def test_what_is_younger_than_a_minute_is_not_believed(cache: Path, tmp_path: Path) -> None:
    """Neither a new file, nor one whose time lies ahead, as after a clock that was set back."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"bytes")
    assert noted(cache, path) is None
    ahead = time.time_ns() + 3600 * 10**9
    os.utime(path, ns=(ahead, ahead))
    assert noted(cache, path) is None
    found = Notes(cache).get(path)
    assert found is not None
    assert (found.id, found.stamp) == ("net/v1", None)


@pytest.mark.parametrize("behind", [0, 3600])
def test_the_clock_of_the_file_system_counts(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: int
) -> None:
    """A file may be new by a server's clock though it is old by ours."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"bytes")
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 3600 * 10**9)
    monkeypatch.setattr(fileio, "clock", lambda folder: now + (3600 - behind) * 10**9)
    assert (noted(cache, path) is None) == bool(behind)


@pytest.mark.usefixtures("left_alone")
def test_only_status_believes_what_is_older_than_the_last_start(
    project: Project, monkeypatch: pytest.MonkeyPatch, read: list[int]
) -> None:
    """A crash may keep a write and lose its time: then ``add`` reads, and ``status`` does not."""
    project.add(LARGE)
    monkeypatch.setattr("mvc.environment.boot", lambda: "another")
    monkeypatch.setattr(digests, "digest_of_open", pytest.fail)
    project.registry().status(project.folder)
    read.clear()
    project.registry().add("net", project.folder / "model.bin")
    assert sum(read) >= len(LARGE)
    monkeypatch.setattr("mvc.environment.boot", lambda: "")
    project.registry().add("net", project.folder / "model.bin")
    read.clear()
    project.registry().add("net", project.folder / "model.bin")
    assert sum(read) >= len(LARGE)


@pytest.mark.usefixtures("left_alone")
def test_a_file_that_cannot_be_synced_is_read(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the sync nobody knows what is still to be written through a mapping."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"bytes")
    assert noted(cache, path) is not None

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fileio, "sync_open", fail)
    assert believed(cache, path) is None


# What ``status`` opens.


@pytest.mark.usefixtures("left_alone")
def test_status_of_an_unchanged_tree_opens_no_data_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registered, changed, new: what was looked at once is not opened the next time."""
    for name in ("one.pt", "two.pt", "three.pt"):
        project.add(name.encode(), name=name)
    project.file(b"changed", "two.pt")
    project.file(b"new", "four.pt")
    registry = project.registry()
    before = registry.status(project.folder).files
    monkeypatch.setattr("builtins.open", _not_of(project.folder))
    assert registry.status(project.folder).files == before
    assert [(file.path.name, file.state) for file in before] == [
        ("one.pt", "registered"),
        ("three.pt", "registered"),
        ("two.pt", "changed"),
        ("four.pt", "new"),
    ]
    monkeypatch.undo()
    project.file(b"two.pt", "two.pt")
    states = {file.path.name: file.state for file in registry.status(project.folder).files}
    assert states["two.pt"] == "registered"


def _not_of(folder: Path) -> Callable[..., Any]:
    def opened(path: Any, *rest: Any, **named: Any) -> Any:
        assert Path(path).parent != folder, path
        return real(path, *rest, **named)

    real = open
    return opened


# The file.


def fill(cache: Path, count: int, start: int = 0) -> list[Path]:
    """Note so many files that were never there."""
    notes, status = Notes(cache), os.stat(cache)
    paths = [cache / f"{number}.bin" for number in range(start, start + count)]
    for path in paths:
        notes.note(path, "net/v1", digest_of(b""), status)
    notes.save()
    return paths


def count(cache: Path) -> int:
    return len(list(filter(None, (cache / digests.FILE).read_bytes().split(b"\n"))))


def test_the_newest_notes_are_kept(cache: Path) -> None:
    """When there are twice as many as are kept, only the newest stay."""
    paths = fill(cache, 2 * KEPT)
    assert count(cache) == 2 * KEPT
    (newest,) = fill(cache, 1, 2 * KEPT)
    assert count(cache) == KEPT
    notes = Notes(cache)
    assert all(notes.get(path) for path in (*paths[KEPT + 1 :], newest))
    assert not any(notes.get(path) for path in paths[: KEPT + 1])


def test_a_command_writes_once_and_only_what_is_new(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All notes of a command are one write; what stands there already is not written again."""
    calls: list[bytes] = []
    append = fileio.append

    def counted(path: Path, data: bytes) -> None:
        calls.append(data)
        append(path, data)

    monkeypatch.setattr(fileio, "append", counted)
    fill(cache, 100)
    fill(cache, 100)
    assert len(calls) == 1


@pytest.mark.parametrize("torn", [1, 40, 150])
def test_a_torn_line_loses_itself_only(cache: Path, torn: int) -> None:
    """What a crash left of a line is passed over, also when the next command goes on behind it."""
    first, second, third = (fill(cache, 1, number)[0] for number in range(3))
    file = cache / digests.FILE
    os.truncate(file, file.stat().st_size - torn)
    (fourth,) = fill(cache, 1, 3)
    notes = Notes(cache)
    assert all(notes.get(path) for path in (first, second, fourth))
    assert (notes.get(third) is None) == (torn > 1)


def test_a_flipped_byte_is_never_believed(cache: Path) -> None:
    """Each line bears a checksum: damage makes it no line."""
    (path,) = fill(cache, 1)
    file = cache / digests.FILE
    data = file.read_bytes()
    for at in range(1, len(data) - 1):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert Notes(cache).get(path) is None, at


def _too_large(file: Path) -> None:
    os.truncate(file, digests.MAX_SIZE + 1)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _whole_but_strange(file: Path) -> None:
    text = json.dumps(str(file.parent / "0.bin")).encode() + b"\t[1]"
    file.write_bytes(b"%016x %s\n" % (checksum_of(text), text))


@pytest.mark.parametrize("spoil", [_too_large, _folder, _whole_but_strange])
def test_a_spoilt_file_is_no_file(cache: Path, spoil: Callable[[Path], None]) -> None:
    """Whatever is wrong with the notes, nothing is noted, and no command fails."""
    (path,) = fill(cache, 1)
    spoil(cache / digests.FILE)
    assert Notes(cache).get(path) is None
    (path,) = fill(cache, 1)
    if spoil is not _folder:
        assert Notes(cache).get(path) is not None


def test_the_example_on_the_page(cache: Path) -> None:
    """The line on the page is what the writer writes and the reader reads."""
    page = (Path(__file__).parents[2] / "docs/digest-cache.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"```text\n(.*)\n```", page)
    (cache / digests.FILE).write_text(line)
    path, at = Path("/home/anna/model.pt"), 1795527527803728237
    note = Notes(cache).get(path)
    boot = "9a1c2f6e-3b7d-4c58-8e21-5f0a6d9b7c34"
    assert note == Note("resnet18/v3", digest_of(b""), (44804299, at, at, 2311661), boot)
    assert digests._line(digests._key(path), note).decode() == line


def test_commands_at_once_lose_nothing_of_each_other(cache: Path) -> None:
    """Notes are added behind each other, whoever writes meanwhile."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: fill(cache, 50, 50 * number), range(16)))
    notes = Notes(cache)
    assert all(notes.get(path) for paths in found for path in paths)


@pytest.mark.usefixtures("left_alone")
def test_any_name_can_be_noted(cache: Path, tmp_path: Path) -> None:
    """Tabs, line ends and bytes that are not text do not get in the way."""
    path = tmp_path / os.fsdecode(b"a\tb\nc\xff.bin")
    path.write_bytes(b"bytes")
    note = noted(cache, path)
    assert note == Note(
        "net/v1", digest_of(b"bytes"), stamp(path.stat()), note.boot if note else ""
    )


def test_without_a_cache_nothing_is_noted(tmp_path: Path) -> None:
    """Where no cache can be, files are read each time, and nothing fails."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"bytes")
    notes = Notes(None)
    with open(path, "rb") as file:
        digest, status = notes.digest(path, file.fileno())
    notes.note(path, "", digest, status)
    notes.save()
    assert isinstance(digest, Digest)
    assert notes.get(path) is None
