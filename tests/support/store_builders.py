"""Stores, packs and damage for tests, and the examples on the format pages."""

from __future__ import annotations

import os
import re
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mvc import fileio
from mvc.codecs import Encoded, Encoding
from mvc.compatibility import FORMAT
from mvc.digest import Digest, checksum_of, digest_of
from mvc.fileio import Steps
from mvc.recipe import Recipe
from mvc.store import Store, Transaction
from mvc.store.pack import (
    FOOTER,
    FOOTER_SIZE,
    FRAME_CHECKSUM,
    FRAME_HEADER,
    INDEX_ENTRY,
    INDEX_HEADER,
    PACK_HEADER,
    SUFFIX,
    Entry,
    PackReader,
    PackWriter,
)

T = TypeVar("T")

PAGES = Path(__file__).parents[2] / "docs" / "formats"
REGISTRY = "ab" * 16
RECORD = b"mvc: 1\n"


def new_store(folder: Path, cache: Path | None = None) -> Store:
    """Make an empty store and open it."""
    Store.create(folder)
    return Store.open(folder, cache=cache)


def steps_of(
    transaction: Transaction, objects: Iterable[bytes], record: bytes = RECORD
) -> Steps[None]:
    """Put ``objects`` and publish them; the caller ends the transaction."""
    yield from transaction.begin()
    for data in objects:
        transaction.put(data, digest_of(data), 0)
    yield from transaction.publish(REGISTRY, record)


def publish(store: Store, objects: Iterable[bytes], record: bytes = RECORD) -> Transaction:
    """Carry a whole transaction through; return it for its counts."""
    transaction = Transaction(store)
    try:
        fileio.run(steps_of(transaction, objects, record))
    finally:
        transaction.end()
    return transaction


def publish_file(store: Store, objects: Iterable[bytes], made: Recipe, file: bytes) -> None:
    """Publish objects and a recipe of them under the digest of ``file``, rightly or not."""
    publish_recipe(store, objects, made, digest_of(file))


def publish_recipe(store: Store, objects: Iterable[bytes], made: Recipe, digest: Digest) -> None:
    """Publish objects and a recipe of them under any digest."""
    transaction = Transaction(store)
    try:
        fileio.run(transaction.begin())
        for data in objects:
            transaction.put(data, digest_of(data), 0)
        transaction.put_recipe(digest, made)
        fileio.run(transaction.publish(REGISTRY, b"mvc: 1\n" + digest))
    finally:
        transaction.end()


def packs_of(store: Store) -> list[Path]:
    """Return the packs in a store's folder, sorted."""
    return sorted((store.folder / "packs").iterdir())


def killed_after_every_step(make: Callable[[], Steps[Any]]) -> Iterator[str]:
    """Run a protocol in a process that dies after its first step, then its second, and so on.

    Yields the name of the step each one died after. Nothing of the process
    is cleaned up: no ``finally``, no flush, as after ``kill -9``.
    """
    names: list[str] = []
    while True:
        reading, writing = os.pipe()
        with warnings.catch_warnings():  # threads of other tests do not matter to the child
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            _die_after(make, len(names), writing)
        os.close(writing)
        with open(reading, "rb") as pipe:
            told = pipe.read().decode()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, 9), told
        if status == 0:
            return
        names.append(told)
        yield told


def _die_after(make: Callable[[], Steps[Any]], count: int, writing: int) -> None:
    try:
        steps = make()
        for step in steps:
            if count == 0:
                os.write(writing, step.encode())
                os._exit(9)
            count -= 1
        os._exit(0)
    except BaseException:
        os.write(writing, traceback.format_exc().encode())
        os._exit(1)


def rewrite(path: Path, data: bytes) -> None:
    """Put other bytes under a name, as a new file: readers keep the old one."""
    path.unlink()
    path.write_bytes(data)


def flip(path: Path, at: int, mask: int = 0xFF) -> None:
    """Change one byte of a file in place, whoever may write to it, as a failing disk does."""
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of a pack: what it is, where it lies, and the object it belongs to."""

    name: str
    start: int
    end: int
    digest: Digest | None = None


def regions_of(path: Path) -> list[Region]:
    """Cut a whole pack into its regions, in order and without gaps."""
    pack = PackReader(path)
    regions = [Region("pack header", 0, PACK_HEADER.size)]
    for entry in sorted(pack.index, key=lambda entry: entry.offset):
        payload = entry.offset + FRAME_HEADER.size
        checksum = payload + entry.stored
        regions += [
            Region("frame header", entry.offset, payload, entry.digest),
            Region("payload", payload, checksum, entry.digest),
            Region("frame checksum", checksum, entry.end, entry.digest),
        ]
    index = regions[-1].end
    first_entry = index + INDEX_HEADER.size
    footer = pack.file_size - FOOTER_SIZE
    return [
        *regions,
        Region("index header", index, first_entry),
        Region("index entries", first_entry, footer),
        Region("footer", footer, footer + FOOTER.size),
        Region("footer checksum", footer + FOOTER.size, pack.file_size),
    ]


def write_pack(folder: Path, objects: Iterable[bytes]) -> Path:
    """Write a pack of raw objects as the writer does, and give it its name."""
    writer = PackWriter(folder / "new")
    for data in objects:
        writer.add(digest_of(data), len(data), Encoded.of(Encoding.RAW, data))
    final = folder / writer.finish()
    writer.path.rename(final)
    return final


def forge_pack(folder: Path, entries: Iterable[bytes], frames: bytes = b"") -> Path:
    """Write a pack whose name, index and footer are right, whatever its entries say."""
    rows = list(entries)
    index = INDEX_HEADER.pack(b"MVCI", FORMAT, 0, len(rows)) + b"".join(rows)
    assert len(index) == INDEX_HEADER.size + len(rows) * INDEX_ENTRY.size
    head = PACK_HEADER.pack(b"MVCPACK\n", FORMAT, 0, 0) + frames
    name = digest_of(index)
    footer = FOOTER.pack(b"MVCEND\r\n", FORMAT, 0, 0, len(head), len(index), name)
    path = folder / (name.hex() + SUFFIX)
    path.write_bytes(head + index + footer + FRAME_CHECKSUM.pack(checksum_of(footer)))
    return path


def raw_entry(data: bytes, offset: int = PACK_HEADER.size) -> Entry:
    """Return the entry of an object kept raw at ``offset``."""
    bare = Entry(digest_of(data), offset, len(data), len(data), Encoding.RAW, 0)
    return Entry(*_first_five(bare), checksum_of(bare.header() + data))


def raw_frame(data: bytes) -> bytes:
    """Return the frame that ``raw_entry`` describes."""
    body = raw_entry(data).header() + data
    return body + FRAME_CHECKSUM.pack(checksum_of(body))


def _first_five(entry: Entry) -> tuple[Digest, int, int, int, Encoding]:
    return entry.digest, entry.offset, entry.stored, entry.size, entry.encoding


def page(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


def example(name: str, label: str = "hex") -> bytes:
    """Return the bytes of a page's block; the offsets beside them must be right."""
    (block,) = re.findall(rf"^```{re.escape(label)}\n(.*?)^```", page(name), re.DOTALL | re.M)
    data = bytearray()
    for line in block.splitlines():
        parts = re.match(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)(?: .*)?\Z", line)
        assert parts, line
        assert int(parts[1], 16) == len(data), line
        data += bytes.fromhex(parts[2])
    return bytes(data)


def sizes_add_up(name: str, heading: str) -> int:
    """Check that the rows of the first table below ``heading`` leave no gap; return their sum."""
    below = page(name).split(f"\n{heading}\n", 1)[1].split("\n#")[0]
    end = 0
    for offset, size in re.findall(r"^\| (\d+) \| (\d+) \|", below, re.MULTILINE):
        assert int(offset) == end, f"{name}, {heading}: a field at {offset}, not {end}"
        end += int(size)
    return end
