"""Files made ready to be used: read-only, shared, and verified once.

A set of files is kept as a folder under the digest of its tree. Each file in
it is a hard link to one under the digest of its bytes, so versions share what
they have in common. Beside the folder a note holds size, times and inode of
every file as they were when its bytes were compared: while they are the same
the bytes are believed. All of it may be deleted at any time.

It knows stores and trees, and neither versions nor where a cache should be.

Layout, and what a crash leaves: ``docs/cache.md``.
Public names: ``materialise``, ``renote``, ``clear``, ``FOLDER``, ``LIMIT``.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mvc import fileio, tree
from mvc.compatibility import FORMAT
from mvc.digest import Digest, digest_of, digest_of_open
from mvc.errors import Busy, FormatError, MvcError, Unsupported
from mvc.fileio import NewFile, Steps
from mvc.progress import advance, job
from mvc.store import eviction
from mvc.store.eviction import CONTENTS, NOTE
from mvc.store.fetch import each, fetch
from mvc.store.store import Store
from mvc.tree import Tree, TreeFile

FOLDER = "path"
LIMIT = 32 << 30
# Files made here bear this time, 2000-01-01, so that whoever writes to one
# changes it, however coarse the file system's clock is.
MADE_NS = 946_684_800 * 1_000_000_000
# What is taken away while it is made is made again so often.
_ATTEMPTS = 5
_HEADER = f"mvc {FORMAT}\n"

Stamp = tuple[int, int, int, int]


@dataclass(slots=True)
class _Entry:
    """One set of files in a cache, and what is known of it.

    ``good`` are the inodes whose bytes were compared, or written, by this call.
    """

    cache: Path
    tree: Tree
    store: Callable[[], Store]
    good: set[int] = field(default_factory=set)
    name: str = ""

    def __post_init__(self) -> None:
        self.name = digest_of(tree.encode(self.tree)).hex()

    @property
    def folder(self) -> Path:
        return self.cache / self.name

    @property
    def note(self) -> Path:
        return self.cache / f"{self.name}{NOTE}"


def materialise(store: Callable[[], Store], cache: Path, files: Tree, *, limit: int) -> Path:
    """Return a folder that holds ``files``, read-only; they are made if they are not there.

    Args:
        store: Opens the store; not called where all is there.
        cache: The folder of the cache; made if need be.
        limit: How many bytes the cache may hold. Above it goes what was not
            used for longest, but never what this call returns.

    Raises:
        Damaged: The store does not hold the files whole.
        OSError: The cache cannot be written to, and does not hold them.
    """
    entry = _Entry(cache, files, store)
    noted = _noted(entry)
    if noted is not None and noted == _stamps(entry):
        fileio.touch(entry.note)
        return entry.folder
    return fileio.run(_make_steps(entry, limit))


def renote(cache: Path, files: Tree) -> None:
    """Note an entry as it is now: its caller gave a file of it another name, nothing else."""
    _note(_Entry(cache, files, _no_store))


def clear(cache: Path) -> int:
    """Remove everything from a cache and return how many bytes that were."""
    size = eviction.size(cache)
    aside = fileio.private_path(cache.parent)
    with contextlib.suppress(OSError):
        if fileio.rename(cache, aside):
            fileio.remove_folder(aside)
    return size


def _make_steps(entry: _Entry, limit: int) -> Steps[Path]:
    """Make or mend an entry. Whatever step it dies after, no wrong file is believed."""
    for _ in range(_ATTEMPTS):
        # Somebody may clear the cache, or make room in it, at any time.
        with contextlib.suppress(FileNotFoundError):
            fileio.make_folder(entry.cache / CONTENTS)
            if not _is_folder(entry.folder):
                yield from _create(entry)
            wrong = _wrong(entry)
            if wrong:
                yield from _mend(entry, wrong)
            elif _note(entry):
                yield "noted"
                eviction.evict(entry.cache, limit, keep=entry.name)
                yield "evicted"
                return entry.folder
    raise Busy(f"'{entry.folder}' changes as fast as it is made", hint="run the command again")


def _create(entry: _Entry) -> Steps[None]:
    """Make the folder beside its place and rename it there, unless somebody was first."""
    private = fileio.private_path(entry.cache)
    try:
        _fill(entry, private, entry.tree.files)
        yield "files linked"
        if not _is_folder(entry.folder):  # then it is nothing, or nothing of ours
            _take_away(entry, entry.folder)
        fileio.publish_folder(private, entry.folder)
        yield "folder named"
    finally:
        fileio.remove_folder(private)


def _mend(entry: _Entry, wrong: Iterable[str]) -> Steps[None]:
    """Take away what is wrong in a folder, and link what is then missing."""
    for path in wrong:
        _take_away(entry, entry.folder / path)
    yield "wrong ones removed"
    missing = [file for file in entry.tree.files if not os.path.lexists(entry.folder / file.path)]
    _fill(entry, entry.folder, missing)
    yield "files linked"


def _fill(entry: _Entry, folder: Path, files: Sequence[TreeFile]) -> None:
    """Put files into a folder: as links where the file system has them, else as copies."""
    for above in {os.path.dirname(folder / file.path) for file in files}:
        Path(above).mkdir(parents=True, exist_ok=True)

    def put(file: TreeFile) -> None:
        content = _content(entry, file)
        try:
            fileio.link_also(content, folder / file.path)
        except Unsupported:
            _write(entry, file, folder / file.path)
            fileio.remove(content)

    what = files[0].path if len(files) == 1 else f"{len(files):,} files"
    with job(f"making {what}", sum(file.size for file in files)):
        each(files, put)


def _content(entry: _Entry, file: TreeFile) -> Path:
    """Return the one file with these bytes and this mode, made if it is missing or wrong."""
    suffix = "-x" if file.mode & 0o100 else ""
    final = entry.cache / CONTENTS / f"{file.digest.hex()}{suffix}"
    if _holds(entry, final, file):
        advance(file.size)
    else:
        _write(entry, file, final)
    return final


def _write(entry: _Entry, file: TreeFile, final: Path) -> None:
    """Write a file under a private name, compare it, and give it its name."""
    mode = 0o777 if file.mode & 0o100 else 0o666
    new = NewFile(fileio.private_path(entry.cache), mode)
    try:
        fetch(entry.store(), file.digest, file.size, new)
        new.seal()
        new.set_time(MADE_NS)
        new.close()
        inode = os.lstat(new.path).st_ino
        entry.good.add(inode)
        if _holds(entry, final, file):  # another process was first: one of them is enough
            entry.good.discard(inode)
            new.discard()
        else:
            fileio.rename(new.path, final)
    except BaseException:
        new.discard()
        raise


def _wrong(entry: _Entry) -> list[str]:
    """Return the paths in a folder that are missing, too many, or not what they should be."""
    known = _noted(entry) or ()
    files = {file.path: file for file in entry.tree.files}
    for file, stamp in zip(entry.tree.files, known, strict=False):
        with contextlib.suppress(OSError):
            found = os.lstat(entry.folder / file.path)
            if _stamp(found) == stamp:
                entry.good.add(found.st_ino)
    wrong = [path for path in _names(entry.folder) if path not in files]

    def look(file: TreeFile) -> None:
        if not _holds(entry, entry.folder / file.path, file):
            wrong.append(file.path)

    each(entry.tree.files, look)
    return wrong


def _holds(entry: _Entry, path: Path, file: TreeFile) -> bool:
    """Say whether a file is what it should be; its bytes are read unless they are known."""
    try:
        found = os.lstat(path)
        right = stat.S_ISREG(found.st_mode) and found.st_size == file.size
        runs = bool(found.st_mode & 0o100) == bool(file.mode & 0o100)
        if not right or not runs or found.st_mode & fileio.WRITABLE:
            return False
        if found.st_mtime_ns != MADE_NS:
            return False
        if found.st_ino not in entry.good:
            if _digest_of(path) != file.digest:
                return False
            entry.good.add(found.st_ino)
    except (OSError, FormatError):
        return False
    return True


def _digest_of(path: Path) -> Digest:
    descriptor = fileio.open_regular(path)
    try:
        return digest_of_open(descriptor)
    finally:
        os.close(descriptor)


def _stamps(entry: _Entry) -> list[Stamp] | None:
    """Return what changes when a file does, in the tree's order; ``None`` if they are not all."""
    if not _is_folder(entry.folder):
        return None
    if set(_names(entry.folder)) != {file.path for file in entry.tree.files}:
        return None
    try:
        return [_stamp(os.lstat(entry.folder / file.path)) for file in entry.tree.files]
    except OSError:
        return None


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _names(folder: Path) -> Iterable[str]:
    """Yield the paths of all that is no folder, links too."""
    for above, folders, names in os.walk(folder):
        below = os.path.relpath(above, folder)
        links = (name for name in folders if os.path.islink(os.path.join(above, name)))
        for name in (*names, *links):
            yield name if below == "." else f"{below}/{name}"


def _note(entry: _Entry) -> bool:
    """Note that all files hold, unless one was written to since; they bear another time then.

    Where nothing can be noted they are compared again when they are next asked for.
    """
    stamps = _stamps(entry)
    if stamps is None or any(changed != MADE_NS for _, changed, _, _ in stamps):
        return False
    text = "".join(" ".join(map(str, stamp)) + "\n" for stamp in stamps)
    with contextlib.suppress(OSError):
        fileio.replace(entry.note, (_HEADER + text).encode())
    return True


def _noted(entry: _Entry) -> list[Stamp] | None:
    try:
        text = fileio.read(entry.note, tree.MAX_SIZE).decode("ascii")
        if not text.startswith(_HEADER):
            return None
        rows = [tuple(map(int, row.split())) for row in text[len(_HEADER) :].splitlines()]
        return [(size, changed, moved, inode) for size, changed, moved, inode in rows]
    except (OSError, MvcError, ValueError):
        return None


def _is_folder(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return False


def _take_away(entry: _Entry, path: Path) -> None:
    """Remove a file or folder, its name first."""
    aside = fileio.private_path(entry.cache)
    if fileio.rename(path, aside):
        fileio.remove(aside)
        fileio.remove_folder(aside)


def _no_store() -> Store:
    raise AssertionError("noting reads no store")
