"""Damaged files of every format, as many as fit into the time: seconds here, minutes in 'long'.

``MVC_FUZZ_SECONDS`` says how long the long run takes per format (60). What is
found stays as a case in the tests of its format.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from mvc import formats
from mvc.errors import FormatError
from mvc.formats import describe
from mvc.formats.validate import validated
from tests.formats import corpus
from tests.formats.sources import Bytes, is_sound

SECONDS = 2.0
MAX_TIME = 20.0  # of processor, and with memory traced, which takes several times as long
MAX_MEMORY = 96 << 20  # of files under 64 KiB


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def check(data: bytes) -> bool:
    """Check every claim on ``data``; return whether it is not opaque."""
    source = Bytes(data)
    for matches, parse in formats.FORMATS:
        if matches(data[: formats.HEAD_SIZE]):
            with suppress(FormatError):  # and nothing else, whatever the bytes
                parse(source)
    tracemalloc.reset_peak()
    before, start = tracemalloc.get_traced_memory()[0], time.process_time()
    layout = describe(source)
    assert time.process_time() - start < MAX_TIME
    assert tracemalloc.get_traced_memory()[1] - before < MAX_MEMORY
    if layout is None:
        return False
    assert validated(layout, len(data)) == layout
    assert is_sound(layout, len(data))
    return True


def fuzz(format: str, first: int, seconds: float) -> tuple[int, int]:
    """Check mutants from number ``first`` on; return how many there were, and how many sound."""
    end, number, sound = time.monotonic() + seconds, first, 0
    with traced():
        while time.monotonic() < end:
            try:
                sound += check(corpus.mutant(format, number))
            except Exception as error:
                raise AssertionError(f"mutant({format!r}, {number}): {error!r}") from error
            number += 1
    return number - first, sound


@pytest.mark.parametrize("format", corpus.FORMATS)
def test_whole_files_are_of_their_format(format: str) -> None:
    """What the damage begins with is understood: the runs below start from good files."""
    for data in corpus.files(format):
        layout = describe(Bytes(data))
        assert layout is not None
        assert layout.format.startswith(format.partition("-")[0])


@pytest.mark.parametrize("format", corpus.FORMATS)
def test_damage_never_raises_never_lies_and_never_hangs(format: str) -> None:
    """Damaged files raise ``FormatError`` at most, in bounded time and memory, and are sound."""
    tried, sound = fuzz(format, 0, SECONDS)
    assert tried > sound > 0


@pytest.mark.long
@pytest.mark.parametrize("format", corpus.FORMATS)
def test_damage_for_a_long_time(format: str) -> None:
    """The same, with other damage each time and for as long as one likes."""
    seconds = float(os.environ.get("MVC_FUZZ_SECONDS", "60"))
    tried, sound = fuzz(format, time.time_ns(), seconds)
    assert tried > sound > 0
    print(f"{format}: {tried} files tried, {sound} of them not opaque")
