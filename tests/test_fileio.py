"""Files: a name is taken once, whole, and durable; nothing else is ever seen."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mvc import fileio, system
from mvc.digest import Buffer
from mvc.errors import FormatError, Unsupported
from tests.support import store_builders as build


class Calls:
    """Counts what is synced, by path, and fails where told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[str] = []
        self.fail: Callable[[str], int] = lambda path: 0
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._counted)

    def _counted(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        self.synced.append(path)
        if error := self.fail(path):
            raise OSError(error, os.strerror(error), path)
        self._fsync(descriptor)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc to name what is synced")
    return Calls(monkeypatch)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def create(final: Path, data: bytes) -> bool:
    return fileio.run(fileio.create_once(final, data, final.parent))


def test_the_first_to_create_wins(tmp_path: Path) -> None:
    """A name once created keeps its bytes, and whoever comes later is told so."""
    assert create(tmp_path / "a", b"first")
    assert not create(tmp_path / "a", b"second")
    assert contents(tmp_path) == {"a": b"first"}


def test_of_many_threads_one_creates(tmp_path: Path) -> None:
    """Among racing threads exactly one wins, and the file holds the winner's bytes."""
    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            start = threading.Barrier(8)

            def race(data: bytes, number: int = number, start: threading.Barrier = start) -> bool:
                start.wait()
                return create(tmp_path / str(number), data)

            racers = [b"%d" % racer for racer in range(8)]
            won = list(threads.map(race, racers))
            assert won.count(True) == 1
            assert (tmp_path / str(number)).read_bytes() == racers[won.index(True)]
    assert len(os.listdir(tmp_path)) == 20


def test_of_two_processes_one_creates(tmp_path: Path) -> None:
    """A process that stopped before its link has lost to one that linked meanwhile."""
    for _ in build.killed_after_every_step(
        lambda: fileio.create_once(tmp_path / "a", b"child", tmp_path)
    ):
        made = create(tmp_path / "a", b"parent")
        linked = (tmp_path / "a").read_bytes() == b"child"
        assert made != linked
        fileio.remove(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"child"


def test_a_killed_create_leaves_the_whole_file_or_nothing(tmp_path: Path) -> None:
    """Whatever step it dies after, the name is absent or has all bytes, and a repeat works."""
    data = b"x" * 100_000
    final = tmp_path / "folder" / "a"
    final.parent.mkdir()
    seen = []
    for step in build.killed_after_every_step(lambda: fileio.create_once(final, data, tmp_path)):
        found = contents(final.parent)
        assert found in ({}, {"a": data}), step
        seen.append((step, bool(found)))
        assert create(final, data) != bool(found)
        final.unlink()
    assert seen == [("staged", False), ("linked", True), ("durable", True)]


def test_leftovers_of_the_killed_are_never_listed(tmp_path: Path) -> None:
    """What a killed writer left under a private name is passed over by readers."""
    final = tmp_path / "a"
    steps = build.killed_after_every_step(lambda: fileio.create_once(final, b"a", tmp_path))
    assert next(steps) == "staged"
    assert len(os.listdir(tmp_path)) == 1
    assert list(fileio.list_folder(tmp_path)) == []
    assert create(final, b"a")
    assert list(fileio.list_folder(tmp_path)) == ["a"]
    assert list(fileio.list_folder(tmp_path / "missing")) == []


def test_our_own_file_under_the_name_counts_as_won(tmp_path: Path) -> None:
    """A lost reply of a network file system says EEXIST; the inode says that we won."""
    private = fileio.write_private(tmp_path, [b"a"])
    assert fileio.link_once(private, tmp_path / "a")
    assert fileio.link_once(private, tmp_path / "a")
    twin = fileio.write_private(tmp_path, [b"a"])
    assert not fileio.link_once(twin, tmp_path / "a")


def test_a_name_that_is_given_up_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had the name may give it up before it is looked at: then it is free."""
    private, final = fileio.write_private(tmp_path, [b"a"]), tmp_path / "a"
    final.write_bytes(b"another")
    real = os.link

    def late(path: Path, taken: Path, *, follow_symlinks: bool) -> None:
        try:
            real(path, taken, follow_symlinks=follow_symlinks)
        except FileExistsError:
            taken.unlink()
            raise

    monkeypatch.setattr(os, "link", late)
    assert fileio.link_once(private, final)
    assert final.read_bytes() == b"a"


def test_a_lost_reply_is_won(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same through ``create_once``, with a link that works and reports that it did not."""
    link = os.link

    def lossy(source: Path, target: Path, *, follow_symlinks: bool) -> None:
        link(source, target, follow_symlinks=follow_symlinks)
        link(source, target, follow_symlinks=follow_symlinks)  # what the client sends again

    monkeypatch.setattr(os, "link", lossy)
    assert create(tmp_path / "a", b"a")


def test_an_evicted_private_name_cannot_be_linked(tmp_path: Path) -> None:
    """The fence: once the private name is gone, no link to it succeeds."""
    private = fileio.write_private(tmp_path, [b"a"])
    fileio.remove(private)
    with pytest.raises(FileNotFoundError):
        fileio.link_once(private, tmp_path / "a")
    assert os.listdir(tmp_path) == []


NO_LINKS = [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK]


@pytest.fixture(params=NO_LINKS, ids=[errno.errorcode[code] for code in NO_LINKS])
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every link, as FAT, some FUSE, some shares and a file with very many names do."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("no_links")
def test_without_links_the_first_to_create_wins_all_the_same(tmp_path: Path) -> None:
    """There a rename that replaces nothing gives the name, to one of many, and nothing is left."""
    start = threading.Barrier(8)

    def race(data: bytes) -> bool:
        start.wait()
        return create(tmp_path / "a", data)

    racers = [b"%d" % racer for racer in range(8)]
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(race, racers))
    assert won.count(True) == 1
    assert contents(tmp_path) == {"a": racers[won.index(True)]}


@pytest.mark.usefixtures("no_links")
def test_without_links_an_evicted_name_gives_no_other(tmp_path: Path) -> None:
    """The fence holds there too; and what has lost keeps its private name for the next try."""
    (tmp_path / "taken").symlink_to("nothing")
    private = fileio.write_private(tmp_path, [b"a"])
    assert not fileio.link_once(private, tmp_path / "taken")
    assert fileio.link_once(private, tmp_path / "free")
    with pytest.raises(FileNotFoundError):
        fileio.link_once(private, tmp_path / "again")
    assert sorted(os.listdir(tmp_path)) == ["free", "taken"]


@pytest.mark.usefixtures("no_links")
def test_a_file_system_with_neither_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a rename may replace something, too, nothing is created and the error says why."""
    monkeypatch.setattr(system, "rename_once", lambda private, final: None)
    with pytest.raises(Unsupported, match="neither hard links nor a rename that") as caught:
        create(tmp_path / "a", b"a")
    assert "choose a folder on another" in (caught.value.hint or "")
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("no_links")
def test_a_further_name_is_a_link_or_nothing(tmp_path: Path) -> None:
    """Whoever needs both names is told that there cannot be two, and keeps the one."""
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(Unsupported, match="cannot link"):
        fileio.link_also(tmp_path / "a", tmp_path / "b")
    assert contents(tmp_path) == {"a": b"a"}


def test_a_kernel_without_such_a_rename_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library without the call, and a file system that refuses the order, answer alike."""
    (tmp_path / "a").write_bytes(b"a")
    monkeypatch.setattr(system, "_RENAME_ONCE", ("no_such_call", -100, 1))
    assert system.rename_once(tmp_path / "a", tmp_path / "b") is None
    monkeypatch.setattr(system, "_RENAME_ONCE", ("renameat2", -100, 1 << 20))  # no such flag
    assert system.rename_once(tmp_path / "a", tmp_path / "b") is None
    assert contents(tmp_path) == {"a": b"a"}


@pytest.mark.parametrize("kind", ["CIFS", "SMB2", "FUSE"])
def test_a_server_that_may_replace_all_the_same_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """On SMB another host may take the name in between, and a FUSE server need not listen."""
    (tmp_path / "a").write_bytes(b"a")
    assert system._kind(os.fspath(tmp_path)) == system._kind(os.open(tmp_path, os.O_RDONLY))
    numbers = {name: number for number, name in system._REPLACE_ALL_THE_SAME.items()}
    monkeypatch.setattr(system, "_kind", lambda where: numbers[kind])
    assert system.rename_once(tmp_path / "a", tmp_path / "b") is None
    assert contents(tmp_path) == {"a": b"a"}


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_what_is_created_once_is_read_only(tmp_path: Path, umask: int) -> None:
    """Nobody may write, and whom the umask shuts out may not read either."""
    before = os.umask(umask)
    try:
        create(tmp_path / "a", b"a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o444 & ~umask


def test_a_symlink_is_a_taken_name(tmp_path: Path) -> None:
    """A link under the final name, dangling or not, is neither followed nor replaced."""
    (tmp_path / "target").write_bytes(b"foreign")
    for name, target in (("whole", "target"), ("dangling", "nothing")):
        (tmp_path / name).symlink_to(target)
        assert not create(tmp_path / name, b"ours")
        assert os.readlink(tmp_path / name) == target
    assert contents(tmp_path) == {"target": b"foreign", "whole": b"foreign"}


def test_a_new_file_never_opens_what_is_there(tmp_path: Path) -> None:
    """A private name that is taken, by a file or a link, is refused."""
    (tmp_path / "file").write_bytes(b"foreign")
    (tmp_path / "link").symlink_to("nothing")
    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            fileio.NewFile(tmp_path / name)
    assert contents(tmp_path) == {"file": b"foreign"}


def test_a_reader_sees_old_or_new(tmp_path: Path) -> None:
    """While a file is replaced, whoever reads it finds one whole state, never a mixture."""
    path = tmp_path / "a"
    states = {bytes([n]) * 50_000 for n in range(4)}
    fileio.replace(path, min(states))
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        for state in states:
            fileio.replace(path, state)
    done.set()
    reader.join()
    assert seen <= states
    assert len(os.listdir(tmp_path)) == 1


def test_a_replace_that_fails_leaves_the_old(tmp_path: Path, calls: Calls) -> None:
    """A failed sync of the new bytes is an error, the old file stays, nothing is left over."""
    fileio.replace(tmp_path / "a", b"old", durable=True)
    calls.fail = lambda path: errno.EIO if "new" in path else 0
    with pytest.raises(OSError, match="Input/output"):
        fileio.replace(tmp_path / "a", b"new", durable=True)
    assert contents(tmp_path) == {"a": b"old"}
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_durable_replace_syncs_the_file_then_its_folder(tmp_path: Path, calls: Calls) -> None:
    """The bytes are durable before the name is, and the name before ``replace`` returns."""
    fileio.replace(tmp_path / "a", b"a", durable=True)
    file, folder = calls.synced
    assert Path(file).name.startswith(fileio.PRIVATE_PREFIX)
    assert folder == str(tmp_path)


@pytest.mark.parametrize("most", [1, 3, 7, 1000])
def test_short_writes_are_carried_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """However few bytes the system takes at once, all arrive, in order."""
    writev = os.writev

    def short(descriptor: int, views: Sequence[Buffer]) -> int:
        return writev(descriptor, [b"".join(bytes(view) for view in views)[:most]])

    monkeypatch.setattr(os, "writev", short)
    pieces: list[Buffer] = [b"ab", b"", bytearray(b"cdefg"), memoryview(b"h"), b"ijklmnopq" * 20]
    new = fileio.NewFile(tmp_path / "a")
    new.write(pieces)
    new.write([b"!"])
    new.close()
    assert (tmp_path / "a").read_bytes() == b"".join(pieces) + b"!"
    assert new.size == (tmp_path / "a").stat().st_size


def test_more_pieces_than_one_call_takes_are_written(tmp_path: Path) -> None:
    """Thousands of pieces are written in order; the system takes 1024 at once."""
    pieces = [b"%d," % number for number in range(5000)]
    new = fileio.NewFile(tmp_path / "a")
    new.write(pieces)
    assert new.read(2, 5) == b"1,2,3"
    new.close()
    assert (tmp_path / "a").read_bytes() == b"".join(pieces)


def test_numbers_are_written_as_their_bytes(tmp_path: Path) -> None:
    """A buffer of wider elements is written byte for byte."""
    new = fileio.NewFile(tmp_path / "a")
    new.write([memoryview(b"12345678").cast("I")])
    new.close()
    assert (new.size, (tmp_path / "a").read_bytes()) == (8, b"12345678")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails raises, and neither the name nor a private one remains."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(OSError, match="No space"):
        create(tmp_path / "a", b"a")
    with pytest.raises(OSError, match="No space"):
        fileio.replace(tmp_path / "a", b"a")
    assert os.listdir(tmp_path) == []


def test_a_failed_sync_is_final(tmp_path: Path, calls: Calls) -> None:
    """After one failed fsync the kernel may call the bytes clean: it is never tried again."""
    calls.fail = lambda path: errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        create(tmp_path / "a", b"a")
    assert len(calls.synced) == 1
    assert os.listdir(tmp_path) == []


def test_a_failed_sync_of_the_folder_is_an_error(tmp_path: Path, calls: Calls) -> None:
    """A name that may not be durable is never reported as created."""
    calls.fail = lambda path: errno.EIO if path == str(tmp_path) else 0
    with pytest.raises(OSError, match="Input/output"):
        create(tmp_path / "a", b"a")
    assert calls.synced.count(str(tmp_path)) == 1


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path: Path, calls: Calls) -> None:
    """Some file systems answer EINVAL for folders; there the system does what it does."""
    calls.fail = lambda path: errno.EINVAL if path == str(tmp_path) else 0
    assert create(tmp_path / "a", b"a")


def test_create_once_syncs_the_file_before_its_name(tmp_path: Path, calls: Calls) -> None:
    """A power cut between the two leaves no name without its bytes."""
    (tmp_path / "staging").mkdir()
    steps = fileio.create_once(tmp_path / "a", b"a", tmp_path / "staging")
    assert next(steps) == "staged"
    assert [Path(path).parent.name for path in calls.synced] == ["staging"]
    assert next(steps) == "linked"
    assert next(steps) == "durable"
    assert calls.synced[1:] == [str(tmp_path)]
    steps.close()
    assert os.listdir(tmp_path / "staging") == []


def test_each_new_folder_is_durable_in_the_one_above(tmp_path: Path, calls: Calls) -> None:
    """Every folder that is made is synced into its parent, from the top down."""
    fileio.make_folder(tmp_path / "a")
    assert calls.synced[-1:] == [str(tmp_path)]
    calls.synced.clear()
    fileio.make_folder(tmp_path / "a" / "b" / "c")
    assert calls.synced[-2:] == [str(tmp_path / "a"), str(tmp_path / "a" / "b")]


def test_a_folder_that_is_there_is_made_durable_too(tmp_path: Path, calls: Calls) -> None:
    """Who made a folder may have died before its sync; whoever builds on it syncs it."""
    (tmp_path / "a").mkdir()
    fileio.make_folder(tmp_path / "a")
    assert calls.synced == [str(tmp_path)]
    calls.synced.clear()
    fileio.make_folder(tmp_path / "a" / "b")
    assert calls.synced == [str(tmp_path), str(tmp_path / "a")]


def test_a_folder_that_another_makes_meanwhile_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: Calls
) -> None:
    """Who loses the race for a folder has it all the same, and syncs it as well."""
    mkdir = os.mkdir

    def raced(path: Path) -> None:
        mkdir(path)
        mkdir(path)

    monkeypatch.setattr(os, "mkdir", raced)
    fileio.make_folder(tmp_path / "a")
    assert calls.synced[-1:] == [str(tmp_path)]


def test_a_folder_that_is_made_and_taken_away_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was there for the call, and is not any more, is no file in the way."""
    mkdir, times = os.mkdir, iter(range(3))

    def raced(path: Path) -> None:
        if next(times) == 0:
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        mkdir(path)

    monkeypatch.setattr(os, "mkdir", raced)
    fileio.make_folder(tmp_path / "a")
    assert (tmp_path / "a").is_dir()


@pytest.mark.parametrize("kind", ["file", "dangling"])
def test_what_is_no_folder_is_an_error(tmp_path: Path, kind: str) -> None:
    """A file or a dangling link where a folder should be is not passed over in silence."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(FileExistsError):
        fileio.make_folder(tmp_path / kind)
    with pytest.raises(OSError, match=kind):
        fileio.make_folder(tmp_path / kind / "below")


def test_a_taken_place_is_left_alone(tmp_path: Path) -> None:
    """Without ``overwrite`` a file that is there stays, and the private one too."""
    (tmp_path / "a").write_bytes(b"foreign")
    (tmp_path / "link").symlink_to("nothing")
    private = fileio.write_private(tmp_path, [b"ours"])
    for name in ("a", "link"):
        assert not fileio.move_into_place(private, tmp_path / name, overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"foreign"
    assert private.exists()
    assert fileio.move_into_place(private, tmp_path / "b", overwrite=False)
    assert not private.exists()
    assert (tmp_path / "b").read_bytes() == b"ours"


def test_with_overwrite_a_place_is_taken(tmp_path: Path, calls: Calls) -> None:
    """With ``overwrite`` the name changes hands at once, a link itself and not its target."""
    (tmp_path / "target").write_bytes(b"foreign")
    (tmp_path / "a").symlink_to("target")
    private = fileio.write_private(tmp_path, [b"ours"])
    assert fileio.move_into_place(private, tmp_path / "a", overwrite=True)
    assert not (tmp_path / "a").is_symlink()
    assert contents(tmp_path) == {"a": b"ours", "target": b"foreign"}
    assert calls.synced[-1] == str(tmp_path)


@pytest.mark.usefixtures("no_links")
def test_without_links_a_free_place_is_taken_all_the_same(tmp_path: Path) -> None:
    """A file moves to a free name there, and to no other."""
    (tmp_path / "taken").symlink_to("nothing")
    private = fileio.write_private(tmp_path, [b"ours"])
    assert not fileio.move_into_place(private, tmp_path / "taken", overwrite=False)
    assert fileio.move_into_place(private, tmp_path / "free", overwrite=False)
    assert os.readlink(tmp_path / "taken") == "nothing"
    assert contents(tmp_path) == {"free": b"ours"}


def test_a_finished_folder_takes_only_a_free_name(tmp_path: Path) -> None:
    """A folder is renamed into place, unless files, a file or a link are there."""
    for name in ("new", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(name.encode())
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("other")
    for taken in ("other", "file", "link"):
        assert not fileio.publish_folder(tmp_path / "new", tmp_path / taken)
    assert (tmp_path / "other" / "a").read_bytes() == b"other"
    assert fileio.publish_folder(tmp_path / "new", tmp_path / "free")
    assert (tmp_path / "free" / "a").read_bytes() == b"new"


def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    """A file of exactly the limit is read; one byte more is refused."""
    (tmp_path / "a").write_bytes(b"0123456789")
    assert fileio.read(tmp_path / "a", 10) == b"0123456789"
    with pytest.raises(FormatError, match="10 bytes, the limit is 9"):
        fileio.read(tmp_path / "a", 9)
    with pytest.raises(FileNotFoundError):
        fileio.read(tmp_path / "b", 9)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A symlink, a folder, a pipe or a device in a file's place is refused and never waited for."""
    (tmp_path / "file").write_bytes(b"a")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "link", tmp_path / "folder", tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(FormatError):
            fileio.read(path, 10)


def test_what_is_gone_may_be_removed(tmp_path: Path) -> None:
    """Removing what is not there is no error; a link is removed, not its target."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("folder/a")
    for _ in range(2):
        fileio.remove(tmp_path / "link")
    assert contents(tmp_path / "folder") == {"a": b"a"}
    for _ in range(2):
        fileio.remove_folder(tmp_path / "folder")
    assert os.listdir(tmp_path) == []


def test_a_discarded_file_leaves_what_was_linked(tmp_path: Path) -> None:
    """Discarding takes away the private name only, and may be done twice."""
    new = fileio.NewFile(tmp_path / "private")
    new.write([b"a"])
    fileio.link_once(new.path, tmp_path / "final")
    new.discard()
    new.discard()
    assert contents(tmp_path) == {"final": b"a"}


def test_free_space_is_what_may_be_written(tmp_path: Path) -> None:
    """The number is that of the file system, in bytes."""
    assert 0 < fileio.free_space(tmp_path) < os.statvfs(tmp_path).f_blocks * (1 << 20)


def test_the_disk_is_set_to_work_while_a_large_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stretch is advised once and in order, so that ``sync`` finds little left to do."""
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("this system takes no such advice")
    advised: list[tuple[int, int]] = []
    original = os.posix_fadvise

    def counted(descriptor: int, offset: int, size: int, advice: int) -> None:
        advised.append((offset, size))
        original(descriptor, offset, size, advice)

    monkeypatch.setattr(os, "posix_fadvise", counted)
    piece = os.urandom(6 << 20)
    new = fileio.NewFile(tmp_path / "large")
    for _ in range(10):
        new.write([piece])
    new.close()
    assert advised == [(0, 18 << 20), (18 << 20, 18 << 20), (36 << 20, 18 << 20)]
    assert (tmp_path / "large").read_bytes() == piece * 10
