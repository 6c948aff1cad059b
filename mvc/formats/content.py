"""Cutting by content: for bytes whose structure is not known.

FastCDC puts a cut where the bytes themselves say so, so that bytes put in or
taken out of a file move only the cuts beside them, and the chunks of two
similar files are mostly the same. Sizes are 256 KiB at least (but for the
last), 1 MiB on average, 4 MiB at most.

Source: Xia et al., FastCDC, USENIX ATC 2016; as built in ``fastcdc`` 1.x.
Public names: ``Cutter``, ``MIN_SIZE``, ``AVERAGE_SIZE``, ``MAX_SIZE``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import cache
from typing import Any

from mvc.digest import Buffer

MIN_SIZE = 256 << 10
AVERAGE_SIZE = 1 << 20
MAX_SIZE = 4 << 20

WINDOW_SIZE = 4 * MAX_SIZE


class Cutter:
    """Cuts one stretch of bytes that is handed over in blocks.

    1. The chunks, joined, are the bytes that were fed.
    2. Where the cuts fall depends on those bytes only, not on the blocks.
    3. It holds ``WINDOW_SIZE`` bytes, however long the stretch is.
    4. A chunk is a view that is good until the next one is asked for, and is
       then released: a late look at it raises ``ValueError``.

    ``feed`` and ``finish`` are generators: a block is taken in only as far as
    they are run, so run each to its end. The window is used over and over, as
    memory that is new costs more to touch than the bytes cost to cut.
    """

    def __init__(self) -> None:
        self._window = bytearray(WINDOW_SIZE)
        self._filled = 0

    def feed(self, block: Buffer) -> Iterator[memoryview]:
        """Take in ``block`` and yield the chunks that no later byte can change."""
        view = memoryview(block).cast("B")
        while view.nbytes:
            taken = min(view.nbytes, WINDOW_SIZE - self._filled)
            self._window[self._filled : self._filled + taken] = view[:taken]
            self._filled += taken
            view = view[taken:]
            if self._filled == WINDOW_SIZE:
                yield from self._cut(keep=MAX_SIZE)

    def finish(self) -> Iterator[memoryview]:
        """Yield the chunks that are left; the cutter is then as new."""
        yield from self._cut(keep=1)

    def _cut(self, *, keep: int) -> Iterator[memoryview]:
        """Yield chunks while at least ``keep`` bytes are there to see; move up the rest."""
        at = 0
        with memoryview(self._window) as window:
            for size in _sizes(window[: self._filled]):
                if self._filled - at < keep:
                    break
                with window[at : at + size] as chunk:
                    yield chunk
                at += size
            self._filled -= at
            window[: self._filled] = window[at : at + self._filled]


def _sizes(data: memoryview) -> Iterator[int]:
    for chunk in _fastcdc()(data, MIN_SIZE, AVERAGE_SIZE, MAX_SIZE):
        yield chunk.length


@cache
def _fastcdc() -> Callable[..., Iterator[Any]]:
    """Import ``fastcdc`` (35 ms: it brings a command line along).

    Where its compiled form is missing it says so on stdout, which belongs to
    the results; the slow form cuts at the same places.
    """
    with redirect_stdout(io.StringIO()):
        try:
            from fastcdc.fastcdc_cy import fastcdc_cy as fastcdc
        except ImportError:
            from fastcdc.fastcdc_py import fastcdc_py as fastcdc
    return fastcdc  # type: ignore[no-any-return]  # it has no types
