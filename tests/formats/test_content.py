"""Cutting by content."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable

import pytest
from fastcdc.fastcdc_cy import fastcdc_cy
from hypothesis import given, settings
from hypothesis import strategies as st

from mvc.formats.content import AVERAGE_SIZE, MAX_SIZE, MIN_SIZE, WINDOW_SIZE, Cutter

NOISE = random.Random(1).randbytes(WINDOW_SIZE + 2 * MAX_SIZE + 12345)


def cut(blocks: Iterable[bytes]) -> list[bytes]:
    cutter = Cutter()
    chunks = [bytes(chunk) for block in blocks for chunk in cutter.feed(block)]
    return chunks + [bytes(chunk) for chunk in cutter.finish()]


def in_blocks(data: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


WHOLE = cut([NOISE])


@given(st.lists(st.integers(0, 2 * MAX_SIZE), max_size=8))
@settings(max_examples=25, deadline=None)
def test_cuts_do_not_depend_on_blocks(sizes: list[int]) -> None:
    """However the bytes are handed over, the chunks are the same."""
    assert cut(in_blocks(NOISE, sizes)) == WHOLE


def test_cuts_are_those_of_the_library() -> None:
    """The chunks of a stream are those that fastcdc makes of the whole."""
    lengths = [chunk.length for chunk in fastcdc_cy(NOISE, MIN_SIZE, AVERAGE_SIZE, MAX_SIZE)]
    assert [len(chunk) for chunk in WHOLE] == lengths
    assert b"".join(WHOLE) == NOISE


@pytest.mark.parametrize("size", [0, 1, MIN_SIZE, MIN_SIZE + 1, MAX_SIZE, WINDOW_SIZE, 40 << 20])
def test_bytes_without_content(size: int) -> None:
    """Where all bytes are equal every chunk has the largest size, but for the last."""
    lengths = [len(chunk) for chunk in cut([bytes(size)])]
    full, rest = divmod(size, MAX_SIZE)
    assert lengths == [MAX_SIZE] * full + [rest] * bool(rest)


def test_an_insertion_moves_few_cuts() -> None:
    """After a few bytes put in at the front, nearly all chunks are those of before."""
    moved = cut([b"new bytes", NOISE])
    assert len(set(moved) & set(WHOLE)) >= len(WHOLE) - 4


def test_a_chunk_is_released_when_the_next_is_asked_for() -> None:
    """A late look at a chunk is an error, and never shows other bytes."""
    cutter = Cutter()
    first, second = itertools.islice(cutter.feed(NOISE), 2)
    with pytest.raises(ValueError, match="released"):
        bytes(first)
    assert second is not first


def test_memory_does_not_grow() -> None:
    """A stream of any length takes the memory of one window."""
    cutter, block = Cutter(), NOISE[:100_000]
    tracemalloc.start()
    for _ in range(500):
        for _chunk in cutter.feed(block):
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


SLOW = f"""
import random, sys
sys.modules["fastcdc.fastcdc_cy"] = None
from mvc.formats.content import Cutter
cutter = Cutter()
data = random.Random(1).randbytes({len(NOISE)})[:{2 * MAX_SIZE}]
sizes = [len(c) for c in cutter.feed(data)] + [len(c) for c in cutter.finish()]
assert "fastcdc.fastcdc_py" in sys.modules
print(sizes[:-1])
"""


def test_the_slow_form_cuts_alike_and_is_silent() -> None:
    """Without its compiled form fastcdc cuts at the same places, and prints nothing of ours."""
    done = subprocess.run(
        [sys.executable, "-c", SLOW], capture_output=True, text=True, check=True, timeout=60
    )
    lengths = [len(chunk) for chunk in WHOLE]
    ends = itertools.accumulate(lengths)
    assert done.stdout.strip() == str(lengths[: sum(end < 2 * MAX_SIZE for end in ends)])


def test_formats_import_nothing_heavy() -> None:
    """Importing the formats imports neither numpy nor torch nor fastcdc."""
    code = "import sys, mvc.formats, mvc.formats.content as c; c.Cutter(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "fastcdc", "click", "zipfile", "pickle"} & {*done.stdout.split()}
