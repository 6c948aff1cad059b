"""Trees: the files of a directory, flat, with their full paths.

A tree answers which files a directory has, how large each is, whether it may
be run, and under which digest its bytes are kept. It knows nothing of what is
in them. Every name in it can be written back into a folder of its own,
whatever the file system does with case and accents, and without reaching
beyond that folder.

Layout, limits and a worked example: ``docs/formats/tree.md``.
Public names: ``Tree``, ``TreeFile``, ``encode``, ``decode``, ``check_path``, ``is_own``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from mvc.digest import Digest
from mvc.errors import FormatError

MAX_SIZE = 64 << 20
MAX_COMPONENT = 255
MAX_PATH = 1024
# All sizes together stay below this, as one file's size does.
MAX_TOTAL = 1 << 62
PLAIN, EXECUTABLE = 0o644, 0o755

_LINE = re.compile(r"(0644|0755) (0|[1-9][0-9]{0,18}) (b3:[0-9a-f]{64}) ([^\n]+)\n")
_UNWANTED = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of a directory; ``mode`` is 0o644 or 0o755, ``size`` in bytes."""

    mode: int
    size: int
    digest: Digest
    path: str


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a directory, sorted by path. Checked when made; never empty."""

    files: tuple[TreeFile, ...]

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.files, key=_place))
        object.__setattr__(self, "files", ordered)
        if not ordered:
            raise FormatError("a tree has no files")
        for file in ordered:
            if file.mode not in (PLAIN, EXECUTABLE) or file.size < 0:
                raise FormatError(f"{file.path!r:.200} has mode {file.mode:o}, size {file.size}")
        if self.size >= MAX_TOTAL:
            raise FormatError(f"the files of a tree add up to {self.size} bytes")
        _check_apart(file.path for file in ordered)

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(file.size for file in self.files)


def encode(tree: Tree) -> bytes:
    """Write a tree; equal trees give equal bytes.

    Raises:
        FormatError: It would take more than ``MAX_SIZE`` bytes.
    """
    lines = (f"{file.mode:04o} {file.size} {file.digest} {file.path}\n" for file in tree.files)
    data = "".join(lines).encode()
    if len(data) > MAX_SIZE:
        raise FormatError(f"the list of files takes {len(data):,} bytes, at most {MAX_SIZE:,}")
    return data


def decode(data: bytes | bytearray | memoryview) -> Tree:
    """Read a tree back.

    Raises:
        FormatError: The bytes are no tree, whatever is wrong with them.
    """
    if len(data) > MAX_SIZE:
        raise FormatError(f"a tree of {len(data)} bytes, the limit is {MAX_SIZE}")
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"a tree is not UTF-8 at byte {error.start}") from None
    files: list[TreeFile] = []
    at = 0
    while at < len(text):
        line = _LINE.match(text, at)
        if line is None:
            raise FormatError(f"line {len(files) + 1} of a tree is not 'mode size digest path'")
        mode, size, digest, path = line.groups()
        files.append(TreeFile(int(mode, 8), int(size), Digest.parse(digest), path))
        at = line.end()
    tree = Tree(tuple(files))
    if tree.files != tuple(files):
        raise FormatError("the lines of a tree are not sorted by path")
    return tree


def check_path(path: str) -> None:
    """Refuse a path that cannot be written back, or not safely.

    Raises:
        FormatError: It leaves its folder, holds what no name should, is too
            long, or names what git or mvc keep for themselves.
    """
    shown = repr(path[:80])
    if _UNWANTED.search(path):
        raise FormatError(f"{shown} holds a control character, or is not UTF-8")
    if len(path.encode()) > MAX_PATH:
        raise FormatError(f"path {shown} has {len(path.encode())} bytes, at most {MAX_PATH}")
    for name in path.split("/"):
        if name in ("", ".", ".."):
            raise FormatError(f"{shown} is no path within a folder")
        if len(name.encode()) > MAX_COMPONENT:
            raise FormatError(f"a name in {shown} is over {MAX_COMPONENT} bytes long")
        if is_own(name):
            raise FormatError(f"{shown} names what belongs to git or mvc")


def is_own(name: str) -> bool:
    """Say whether some file system takes ``name`` for ``.git``, or for one of mvc's names.

    Case does not count there, nor characters that are not seen, nor dots and
    blanks at the end.
    """
    if "." not in name[:1] and name.isascii():
        return False
    seen = name if name.isascii() else "".join(c for c in name if unicodedata.category(c) != "Cf")
    low = _folded(seen).rstrip(" .")
    return low == ".git" or low == ".mvc" or low.startswith((".mvc-", ".mvc."))


def _check_apart(paths: Iterable[str]) -> None:
    """Check every path, and that no two are one where case or accents do not count.

    Folders count too: ``Data/a`` and ``data/b`` would lie in one. Only files
    are under ``files``, so that a file cannot be the folder of another.
    """
    spelled: dict[str, str] = {}
    folders: set[str] = set()
    files: set[str] = set()
    for path in paths:
        check_path(path)
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            _note(spelled, folder)
            folder = folder.rpartition("/")[0]
        if path in files:
            raise FormatError(f"{path!r:.200} stands twice in a tree")
        files.add(path)
        _note(spelled, path)
    for path in files & folders:
        raise FormatError(f"{path!r:.200} is a file and a folder in one tree")


def _note(spelled: dict[str, str], path: str) -> None:
    other = spelled.setdefault(_folded(path), path)
    if other != path:
        raise FormatError(
            f"{other!r:.200} and {path!r:.200} are one name where case or accents do not count"
        )


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFC", text).casefold()
    return unicodedata.normalize("NFC", folded)


def _place(file: TreeFile) -> bytes:
    return file.path.encode("utf-8", "surrogatepass")
