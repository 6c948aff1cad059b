"""Fetch: write stored files to disk, each compared with its digest.

Large files are decoded by all threads, one after the other; small ones side
by side. So memory stays flat, and ten thousand small files take no longer
than their bytes.

Public names: ``fetch``, ``each``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mvc.digest import Digest, Hasher
from mvc.durability import Together
from mvc.errors import Damaged
from mvc.fileio import NewFile
from mvc.progress import advance
from mvc.store.pipeline import in_order
from mvc.store.store import Store
from mvc.tree import TreeFile

# Files up to this size are one object, which needs no pipeline of its own.
SMALL = 4 << 20


def fetch(
    store: Store, digest: Digest, size: int, new: NewFile, together: Together | None = None
) -> None:
    """Write the bytes of a stored file, compare their digest, and make them durable.

    Args:
        together: The files that are made durable later, all of them at once, if it says so.

    Raises:
        Damaged: They are not whole; what is damaged is named as far as it is known.
    """
    hasher = Hasher()
    for piece in store.pieces(digest):
        hasher.update(piece)
        new.write([piece])
        advance(len(piece))
    if (hasher.digest(), new.size) != (digest, size):
        for _ in store.pieces(digest, hashed=True):  # once more, to say which part is wrong
            pass
        raise Damaged(f"its parts are whole, but do not make file {digest.short}")
    new.sync(together)


def each(files: Iterable[TreeFile], do: Callable[[TreeFile], object]) -> None:
    """Call ``do`` for every file: for large ones in turn, for small ones in threads."""
    small = []
    for file in files:
        if file.size > SMALL:
            do(file)
        else:
            small.append(file)
    for _ in in_order(small, do):
        pass
