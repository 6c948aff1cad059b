"""Cached: where a download lies in ``pretrained_models``, and what is noted of it.

Each address has a folder of its own::

    example.org-1f2e3d4c/
      model.pt          the file
      download.yaml     where it came from, and its SHA-256
      download.part     what has come so far, while it is not whole
      part.yaml         what the part is a part of

A note is believed only as far as the bytes beside it have its SHA-256.

Public names: ``Note``, ``Cached``, ``Slot``, ``Restore``, ``note_of``,
``sha256_of``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeAlias

from mvc import fileio, lines
from mvc.errors import Conflict, FormatError, MvcError
from mvc.lines import Value
from mvc.registry.imports.address import Address

NOTE, PART, PART_NOTE = "download.yaml", "download.part", "part.yaml"
OWN_NAMES = (NOTE, PART, PART_NOTE)
MAX_NOTE = 64 << 10
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Note:
    """What a server said of a file; ``sha256`` and ``downloaded`` are there once it is whole.

    ``boot`` names the run of the machine in which a part was written.
    """

    url: str
    name: str
    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    boot: str | None = None
    sha256: str | None = None
    downloaded: str | None = None

    @property
    def validator(self) -> str | None:
        """What tells a server which state of the file is meant; a weak ETag cannot."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


@dataclass(frozen=True, slots=True)
class Cached:
    """A whole file, whose bytes have the SHA-256 that its note says."""

    path: Path
    size: int
    sha256: str
    note: Note


class Slot:
    """The folder of one address in the cache."""

    def __init__(self, cache: Path, address: Address) -> None:
        self.cache = cache
        self.folder = cache / address.folder
        self.url = address.shown
        self.part = self.folder / PART

    def whole(self) -> Cached | None:
        """Return the file that was downloaded from here, if it is as it was."""
        note = self.note()
        if note is None or note.sha256 is None:
            return None
        path = self.folder / note.name
        try:
            size, digest = sha256_of(path)
        except (OSError, FormatError):
            return None
        return Cached(path, size, digest, note) if digest == note.sha256 else None

    def note(self) -> Note | None:
        return self._read(NOTE)

    def part_note(self) -> Note | None:
        return self._read(PART_NOTE)

    def note_part(self, note: Note) -> None:
        self._write(PART_NOTE, note)

    def note_whole(self, note: Note) -> None:
        self._write(NOTE, note)

    def part_size(self) -> int:
        """Return how much has come, whoever writes it; it may get its name at any time."""
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def clear_part_note(self) -> None:
        fileio.remove(self.folder / PART_NOTE)

    def make(self) -> None:
        """Make the folder; git is told to pass over what is only a cache."""
        try:
            if not self.cache.is_dir():
                fileio.make_folder(self.cache)
                fileio.replace(self.cache / ".gitignore", b"*\n")
            fileio.make_folder(self.folder)
        except FileExistsError as error:
            raise Conflict(
                f"'{error.filename}' is no folder, and downloads lie in one of that name",
                hint="move it away",
            ) from None

    def _read(self, name: str) -> Note | None:
        """Return a note; one that is damaged, or of another address, is none."""
        try:
            note = note_of(lines.loads(fileio.read(self.folder / name, MAX_NOTE)))
        except (OSError, MvcError):
            return None
        return note if note.url == self.url and _is_plain(note.name) else None

    def _write(self, name: str, note: Note) -> None:
        said = {key: value for key, value in asdict(note).items() if value is not None}
        fileio.replace(self.folder / name, lines.dumps(said), durable=True)


Restore: TypeAlias = "Callable[[Slot], None]"


def sha256_of(path: Path) -> tuple[int, str]:
    """Return the size of a file and the SHA-256 of its bytes."""
    digest, size = hashlib.sha256(), 0
    with open(fileio.open_regular(path), "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def note_of(values: Mapping[str, Value]) -> Note:
    """Read a note; what it does not know is passed over.

    Raises:
        FormatError: A field is missing or wrong.
    """
    said = {each.name: values.get(each.name) for each in fields(Note)}
    size = said.pop("size")
    texts = {name: value for name, value in said.items() if isinstance(value, str)}
    if [name for name, value in said.items() if value is not None] != list(texts):
        raise FormatError("a note of a download has a wrong field")
    if (size is not None and type(size) is not int) or not {"url", "name"} <= texts.keys():
        raise FormatError("a note of a download has no address, no name, or a wrong size")
    return Note(**texts, size=size)


def _is_plain(name: str) -> bool:
    return bool(name) and "/" not in name and name not in (".", "..", *OWN_NAMES)
