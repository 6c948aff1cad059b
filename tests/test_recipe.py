"""Recipes: what is written reads back, and damaged bytes are refused cheaply."""

from __future__ import annotations

import json
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc import recipe
from mvc.digest import Digest, digest_of
from mvc.errors import FormatError, Unsupported
from mvc.recipe import ObjectRef, Part, Recipe, Span, TensorEntry
from tests.support import store_builders as build

HEADER = struct.Struct("<4sHHQIIQ")

objects = st.builds(
    ObjectRef, st.binary(min_size=32, max_size=32).map(Digest), st.integers(0, 1 << 40)
)
dimensions = st.lists(st.integers(0, (1 << 64) - 1), max_size=4).map(tuple)
# A name may be anything a model file bears, also what is no valid Unicode.
names = st.text(st.characters(), max_size=12)


@st.composite
def places(draw: st.DrawFn, refs: tuple[ObjectRef, ...]) -> tuple[int, int, int, int]:
    """Draw a place within ``refs``: first, count, offset, size."""
    first = draw(st.integers(0, len(refs)))
    count = draw(st.integers(0, len(refs) - first))
    size = sum(ref.size for ref in refs[first : first + count])
    offset = draw(st.integers(0, size))
    return first, count, offset, draw(st.integers(0, size - offset))


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Draw a sound recipe, with parts that slice and span objects."""
    refs = tuple(draw(st.lists(objects, max_size=5)))
    parts = tuple(Part(*place) for place in draw(st.lists(places(refs), max_size=5)))
    while sum(part.count for part in parts) > len(refs) + len(parts):
        parts = parts[:-1]
    tensors = tuple(
        TensorEntry(draw(names), draw(names), draw(dimensions), *place, stride)
        for place, stride in draw(
            st.lists(st.tuples(places(refs), st.none() | dimensions), max_size=3)
        )
    )
    return Recipe(sum(part.size for part in parts), refs, parts, tensors)


def read_or_refuse(raw: bytes) -> Recipe | None:
    """Read a recipe; a refusal is ``None``, any other error goes through."""
    try:
        return recipe.decode(raw)
    except (FormatError, Unsupported):
        return None


ONE = ObjectRef(digest_of(b"0123456789"), 10)
OTHER = ObjectRef(digest_of(b"abcdef"), 6)
SAMPLE = Recipe(
    12,
    (ONE, OTHER),
    (Part(0, 2, 8, 5), Part(0, 1, 0, 4), Part(1, 1, 3, 3)),
    (TensorEntry("w", "float32", (2,), 0, 2, 4, 8), TensorEntry("é", "u8", (), 1, 1, 0, 1, (1,))),
)


@given(recipes())
def test_what_is_written_reads_back(made: Recipe) -> None:
    """Every sound recipe comes back equal, and equal recipes are equal bytes."""
    raw = recipe.encode(made)
    assert recipe.decode(raw) == made == recipe.decode(memoryview(raw))
    assert recipe.encode(recipe.decode(raw)) == raw


@given(recipes())
def test_spans_cover_exactly_the_file(made: Recipe) -> None:
    """Spans add up to the file, lie within their objects, and are never empty."""
    spans = list(made.spans())
    assert sum(span.size for span in spans) == made.size
    assert all(0 < span.size <= span.object.size - span.offset for span in spans)
    assert all(span.offset >= 0 for span in spans)


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=6), st.data())
def test_spans_are_the_bytes_of_objects_laid_end_to_end(
    contents: list[bytes], data: st.DataObject
) -> None:
    """A part's spans give the slice that its place names, whatever bounds it crosses."""
    refs = tuple(ObjectRef(digest_of(content), len(content)) for content in contents)
    first, count, offset, size = data.draw(places(refs))
    made = Recipe(size, refs, (Part(first, count, offset, size),))
    by_digest = {digest_of(content): content for content in contents}
    read = b"".join(
        by_digest[span.object.digest][span.offset : span.offset + span.size]
        for span in made.spans()
    )
    assert read == b"".join(contents[first : first + count])[offset : offset + size]


def test_a_tensor_is_found_without_its_neighbours() -> None:
    """The spans of one tensor name only the objects that hold it."""
    tensor = SAMPLE.tensors[0]
    assert list(SAMPLE.spans_of(tensor)) == [Span(ONE, 4, 6), Span(OTHER, 0, 2)]
    assert list(SAMPLE.spans_of(SAMPLE.tensors[1])) == [Span(OTHER, 0, 1)]


@pytest.mark.parametrize("mask", [0x01, 0x10, 0x80, 0xFF])
def test_a_flipped_byte_never_reads_as_the_same_recipe(mask: int) -> None:
    """A changed byte is refused or gives another recipe: no byte is without meaning."""
    raw = recipe.encode(SAMPLE)
    for at in range(len(raw)):
        damaged = bytearray(raw)
        damaged[at] ^= mask
        read = read_or_refuse(bytes(damaged))
        assert read != SAMPLE, at
        if at < 8:
            assert read is None, at


@given(recipes(), st.data())
def test_any_damage_is_read_or_refused(made: Recipe, data: st.DataObject) -> None:
    """Whatever becomes of a few bytes, nothing but a refusal comes out of the reader."""
    raw = bytearray(recipe.encode(made))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    read = read_or_refuse(bytes(raw))
    if read is not None:
        assert sum(span.size for span in read.spans()) == read.size


def test_every_truncation_is_refused() -> None:
    """A recipe that ends early or late is refused, wherever the cut."""
    raw = recipe.encode(SAMPLE)
    for size in range(len(raw)):
        with pytest.raises(FormatError):
            recipe.decode(raw[:size])
    with pytest.raises(FormatError):
        recipe.decode(raw + b"\0")


@pytest.mark.parametrize("version", [0, 2, 0xFFFF])
@pytest.mark.parametrize("reserved", [0, 7])
def test_another_version_is_unsupported(version: int, reserved: int) -> None:
    """A recipe of another format is not called damaged, whatever else it then holds."""
    with pytest.raises(Unsupported, match=f"format {version}"):
        recipe.decode(HEADER.pack(b"MVCR", version, reserved, 1, 2, 3, 4) + b"anything")


@pytest.mark.parametrize("count", [3, 1 << 31, (1 << 32) - 1])
@pytest.mark.parametrize("field", ["objects", "parts", "table"])
def test_lying_counts_cost_nothing(field: str, count: int) -> None:
    """A count is compared with the bytes there are before anything is made for it."""
    claims = {"objects": 0, "parts": 0, "table": 2, field: count}
    raw = HEADER.pack(b"MVCR", 1, 0, 0, *claims.values())
    raw += bytes(100 - len(raw))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="claims"):
            recipe.decode(raw)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_recipe_has_a_limit() -> None:
    """More than 64 MiB is refused before it is looked at."""
    table = recipe.MAX_SIZE - HEADER.size + 1
    raw = HEADER.pack(b"MVCR", 1, 0, 0, 0, 0, table) + b"[" + b" " * (table - 2) + b"]"
    with pytest.raises(FormatError, match="too large"):
        recipe.decode(raw)
    assert recipe.decode(HEADER.pack(b"MVCR", 1, 0, 0, 0, 0, 2) + b"[]") == Recipe(0, (), ())


@pytest.mark.parametrize(
    "part",
    [
        Part(0, 3, 0, 12),
        Part(2, 1, 0, 12),
        Part(3, 0, 0, 0),
        Part(1, 0, 0, 12),
        Part((1 << 32) - 1, (1 << 32) - 1, 0, 12),
        Part(0, 1, 0, 12),
        Part(0, 2, 5, 12),
        Part(0, 2, (1 << 64) - 1, 12),
        Part(0, 2, 0, (1 << 64) - 1),
    ],
)
def test_parts_that_reach_out_are_refused(part: Part) -> None:
    """A part, or a tensor, lies within the objects it names; no sum of 64 bits wraps round."""
    with pytest.raises(FormatError):
        Recipe(12, (ONE, OTHER), (part,))
    tensor = TensorEntry("t", "u8", (), part.first, part.count, part.offset, part.size)
    with pytest.raises(FormatError):
        Recipe(0, (ONE, OTHER), (), (tensor,))


@pytest.mark.parametrize("size", [0, 11, 13, 1 << 63])
def test_parts_add_up_to_the_file(size: int) -> None:
    """A file's size is that of its parts."""
    with pytest.raises(FormatError, match="add up"):
        Recipe(size, SAMPLE.objects, SAMPLE.parts)


PLACE = [0, 1, 0, 1]
TABLES = {
    "nothing": b"",
    "no list": b"7",
    "null": b"null",
    "a row that is no list": b"[7]",
    "a row of text": b'["abcd"]',
    "a short row": b'[["w","u8",[]]]',
    "a long row": json.dumps([["w", "u8", [], PLACE, [], []]]).encode(),
    "a name that is no text": json.dumps([[7, "u8", [], PLACE]]).encode(),
    "a type that is no text": json.dumps([["w", None, [], PLACE]]).encode(),
    "a negative dimension": json.dumps([["w", "u8", [-1], PLACE]]).encode(),
    "a dimension that is a float": json.dumps([["w", "u8", [1.0], PLACE]]).encode(),
    "a dimension that is a truth value": json.dumps([["w", "u8", [True], PLACE]]).encode(),
    "a dimension over 64 bits": json.dumps([["w", "u8", [1 << 64], PLACE]]).encode(),
    "a shape that is no list": json.dumps([["w", "u8", {}, PLACE]]).encode(),
    "a short place": json.dumps([["w", "u8", [], [0, 1, 0]]]).encode(),
    "a place outside": json.dumps([["w", "u8", [], [0, 1, 0, 11]]]).encode(),
    "a stride that is null": json.dumps([["w", "u8", [], PLACE, None]]).encode(),
    "bytes that are no UTF-8": b'[["\xff","u8",[],[0,1,0,1]]]',
    "a number without end": b"[" + b"9" * 100_000 + b"]",
    "nesting without end": b"[" * 100_000,
    "NaN": b"NaN",
    "two values": b"[] []",
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_damaged_table_is_refused(table: bytes) -> None:
    """The table of tensors is read as strictly as the rest."""
    raw = HEADER.pack(b"MVCR", 1, 0, 0, 1, 0, len(table))
    with pytest.raises(FormatError):
        recipe.decode(raw + ONE.digest + struct.pack("<Q", 10) + table)


def test_the_example_on_the_page() -> None:
    """The page's bytes are what is written for the file it describes, and read back as it."""
    raw = build.example("recipe.md")
    skeleton, chunk = b"MVC\x01" + b"end!", bytes(range(16))
    refs = tuple(ObjectRef(digest_of(data), len(data)) for data in (skeleton, chunk))
    parts = Part(0, 1, 0, 4), Part(1, 1, 0, 16), Part(0, 1, 4, 4)
    made = Recipe(24, refs, parts, (TensorEntry("w", "float32", (2, 2), 1, 1, 0, 16),))
    assert recipe.decode(raw) == made
    assert recipe.encode(made) == raw


def test_the_tables_on_the_page_are_the_codes() -> None:
    """Header, object and part have on the page the sizes that the code reads."""
    for heading, layout in (
        ("## Header", recipe._HEADER),
        ("## Objects", recipe._OBJECT),
        ("## Parts", recipe._PART),
    ):
        assert build.sizes_add_up("recipe.md", heading) == layout.size


def test_a_recipe_cannot_ask_for_endless_work() -> None:
    """Parts that use the same objects over and over are refused, before anything is read."""
    with pytest.raises(FormatError, match="over and over"):
        Recipe(3 * 16, (ONE, OTHER), (Part(0, 2, 0, 16),) * 3)
