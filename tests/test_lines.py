"""Lines: what is written is read back, by us and by every YAML reader, or refused."""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mvc import lines
from mvc.digest import digest_of
from mvc.errors import FormatError
from mvc.lines import Value
from tests.support import store_builders as build

# What YAML folds, refuses or takes for syntax, often.
STRANGE = "\x00\t\n\r\x1b\x7f\x80\x85\x9f\xa0\xad\u2028\u2029\ufeff\ufffd\ufffe\uffff😀\U0010ffff"
characters = st.one_of(
    st.characters(exclude_categories=["Cs"]), st.sampled_from(STRANGE + "'\"\\#:-?[]{},&*!|>%@` =<")
)
texts = st.text(characters, max_size=30)
# Every bit pattern of a float is as likely as any other: every magnitude, subnormals too.
floats = (
    st.integers(0, (1 << 64) - 1)
    .map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
    .filter(lambda value: value - value == 0)
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**300), 10**300),
    floats,
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
keys = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True).filter(
    lambda key: key not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
)
files = st.dictionaries(keys, values, min_size=1, max_size=5)


def same(one: Any, other: Any) -> bool:
    """Say whether two values are equal with their types, their order and the sign of zero."""
    return repr(one) == repr(other)


def nested(depth: int, inner: str = "") -> bytes:
    return f"a: {'[' * depth}{inner}{']' * depth}\n".encode()


@given(files)
@example({"a": STRANGE, "b": {STRANGE: [STRANGE]}})
def test_what_is_written_reads_back(file: dict[str, Value]) -> None:
    """Every JSON value comes back equal, with its type, and the keys in their order."""
    assert same(lines.loads(lines.dumps(file)), file)


@given(files)
@example({"a": STRANGE, "b": {STRANGE: [STRANGE]}})
@example({"a": "".join(map(chr, range(0x300)))})
@example({"a": {"<<": {"b": 1}, "=": "=", "no": "no", "1": 1, "": "", "~": None}})
@example({"a": [1e-5, 1e16, 1e300, 5e-324, -0.0, 0.1, 1.7976931348623157e308]})
def test_a_yaml_reader_reads_the_same(file: dict[str, Value]) -> None:
    """PyYAML reads what we write and finds the same values, types and order."""
    assert same(yaml.safe_load(lines.dumps(file)), file)


@given(files, st.data())
def test_what_both_accept_both_read_alike(file: dict[str, Value], data: st.DataObject) -> None:
    """Whatever a hand or a foreign writer makes of a file, we never read it unlike YAML."""
    raw = bytearray(lines.dumps(file))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b" ", b"\t", b"\r", b"1", b"e", b"-", b'"', b"\\", b"\\u", b":"])
        )
    try:
        ours = lines.loads(bytes(raw))
    except FormatError:
        return
    assert same(yaml.safe_load(bytes(raw)), ours)


@given(st.floats(allow_nan=False, allow_infinity=False) | floats)
def test_floats_carry_a_point(value: float) -> None:
    """A float is written with a point and, if any, a signed exponent; else YAML reads text."""
    text = lines.dumps({"a": value}).decode().removeprefix("a: ").removesuffix("\n")
    assert re.fullmatch(r"-?\d+\.\d+(e[-+]\d+)?", text)
    assert same(float(text), value)


@pytest.mark.parametrize(
    "text",
    [
        *"1.10 no null 0x1F 12:30:45 2024-01-01 1e3 0o17 017 ~ yes on .inf .nan 1_000 ?".split(),
        *"<< = - true 1.0e+05 2024-01-01T00:00:00Z !!int # ' [1] --- ... @ ` & *".split(),
        *("", " ", " a ", "a: b", "a #b", '"', "{a: 1}", "%YAML 1.1"),
    ],
)
def test_text_stays_text(text: str) -> None:
    """Text that looks like something else is text to both readers, as a value and as a name."""
    written = lines.dumps({"a": text, "b": {text: 1}, "c": [text]})
    assert (
        lines.loads(written) == yaml.safe_load(written) == {"a": text, "b": {text: 1}, "c": [text]}
    )


def test_the_order_of_keys_is_kept() -> None:
    """A file is written in the order of its values, so equal files are equal bytes."""
    assert lines.dumps({"b": 1, "a": {"d": 1, "c": 2}}) == b'b: 1\na: {"d": 1, "c": 2}\n'


DAMAGED = {
    "no line": b"",
    "only a line end": b"\n",
    "an empty line": b"a: 1\n\nb: 2\n",
    "a last line that is cut off": b"a: 1\nb: 2",
    "a comment": b"# note\n",
    "a document mark": b"---\na: 1\n",
    "no space behind the colon": b"a:1\n",
    "no value": b"a: \n",
    "a line that goes on": b"a: [1,\n  2]\n",
    "an indented line": b" a: 1\n",
    "a key in capitals": b"A: 1\n",
    "a quoted key": b'"a": 1\n',
    "a key that begins with a digit": b"1a: 1\n",
    "a key with a dash": b"a-b: 1\n",
    "an endless key": b"a" * 161 + b": 1\n",
    "a key that YAML takes for a truth value": b"no: 1\n",
    "a key that YAML takes for nothing": b"null: 1\n",
    "a key twice": b"a: 1\nb: 2\na: 1\n",
    "a name twice": b'a: {"b": 1, "b": 1}\n',
    "a name twice, once escaped": b'a: [{"c": {"b": 1, "\\u0062": 2}}]\n',
    "an endless name": b'a: {"' + b"b" * 161 + b'": 1}\n',
    "a bare word": b"a: yes\n",
    "two values": b"a: 1 2\n",
    "a comment behind a value": b"a: 1 # one\n",
    "a single quote": b"a: 'b'\n",
    "NaN": b"a: NaN\n",
    "NaN within": b'a: {"b": [NaN]}\n',
    "Infinity": b"a: Infinity\n",
    "-Infinity": b"a: -Infinity\n",
    "a float without end": b"a: 1.0e+999\n",
    "an exponent without a point": b"a: 1e5\n",
    "an exponent without a sign": b"a: 1.0e5\n",
    "an integer without end": b"a: " + b"9" * 401 + b"\n",
    "a negative integer without end": b"a: [-" + b"9" * 400 + b"]\n",
    "an integer of a megabyte": b"a: " + b"9" * 1_000_000 + b"\n",
    "nesting too deep": nested(17),
    "nesting too deep for a value": nested(16, "1"),
    "nesting too deep behind a blank": b"a:  " + nested(17)[3:],
    "nesting too deep in a mapping": b"a: " + b'{"b": ' * 16 + b"1" + b"}" * 16 + b"\n",
    "100,000 brackets": nested(100_000),
    "100,000 open brackets": b"a: " + b"[" * 100_000 + b"\n",
    "100,000 open mappings": b"a: " + b'{"":' * 100_000 + b"\n",
    "a byte order mark": b"\xef\xbb\xbfa: 1\n",
    "a byte order mark within": b'a: "\xef\xbb\xbf"\n',
    "CRLF": b"a: 1\r\nb: 2\r\n",
    "CR": b"a: 1\rb: 2\n",
    "a tab": b"a: \t1\n",
    "a tab in text": b'a: "\t"\n',
    "a NUL": b"a: 1\x00\n",
    "a next line in text": 'a: "\x85"\n'.encode(),
    "a line separator in text": 'a: "\u2028"\n'.encode(),
    "a DEL in text": b'a: "\x7f"\n',
    "Latin-1": b'a: "\xe9"\n',
    "an overlong NUL": b'a: "\xc0\x80"\n',
    "a surrogate in UTF-8": b'a: "\xed\xa0\x80"\n',
    "a lone surrogate": b'a: "\\ud800"\n',
    "a lone surrogate in a name": b'a: {"\\uDFFF": 1}\n',
    "a surrogate behind a backslash": b'a: "\\\\\\udc00"\n',
    "a pair of surrogates": b'a: "\\ud83d\\ude00"\n',
    "UTF-16": "a: 1\n".encode("utf-16"),
    "over a megabyte": b'a: "' + b"b" * (1 << 20) + b'"\n',
}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED)
def test_what_is_not_lines_is_refused(raw: bytes) -> None:
    """What YAML would accept quietly or read otherwise, and what is damaged, is refused."""
    with pytest.raises(FormatError):
        lines.loads(raw)


def test_an_error_names_the_line() -> None:
    """A person is told which line is wrong, and which key stands there."""
    with pytest.raises(FormatError, match=r"line 2 \(metrics\)"):
        lines.loads(b"a: 1\nmetrics: {\n")
    with pytest.raises(FormatError, match=r"line 3 holds U\+0009"):
        lines.loads(b"a: 1\nb: 2\nc:\t3\n")


@pytest.mark.parametrize(
    "raw",
    [
        nested(16),
        nested(15, "1"),
        b"a: " + b"9" * 400 + b"\n",
        b'a: "\\\\ud800"\n',
        b"a" * 160 + b": 1\n",
        b'a: {"' + b"b" * 160 + b'": 1}\n',
        b'a: "' + b"b" * ((1 << 20) - 6) + b'"\n',
        b"a:   1  \n",
        b'a: "[[[[[[[[[[[[[[[[[[[[[[[["\n',
        b"a: 1.5E+10\n",
    ],
)
def test_what_is_just_within_the_limits_is_read(raw: bytes) -> None:
    """The limits are where the page has them, not one earlier."""
    assert same(lines.loads(raw), yaml.safe_load(raw))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """Whatever the bytes are, no other error comes out."""
    try:
        lines.loads(raw + b"\n")
    except FormatError:
        return


@given(files, st.data())
def test_any_damage_is_read_or_refused(file: dict[str, Value], data: st.DataObject) -> None:
    """Whatever becomes of one byte, no other error comes out, and what is read can be written."""
    raw = bytearray(lines.dumps(file))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = lines.loads(bytes(raw))
    except FormatError:
        return
    assert same(lines.loads(lines.dumps(read)), read)


def deep(depth: int) -> Value:
    value: Value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        [1, {"a": float("nan")}],
        "\ud800",
        {"\udfff": 1},
        {"a": ["\ud83d"]},
        {1: 2},
        {None: 2},
        {"a" * 161: 1},
        deep(16),
        10**400,
        -(10**400),
        b"bytes",
        bytearray(b"bytes"),
        {1, 2},
        object(),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_cannot_be_read_is_never_written(value: Any) -> None:
    """A value that no reader would give back alike is a ``ValueError``, never a file."""
    with pytest.raises(ValueError, match=r"not|deeper|over"):
        lines.dumps({"a": value})


@pytest.mark.parametrize(
    "key", ["", "A", "a b", "a-b", "1", "_a", "é", "a\n", "no", "null", "a" * 161]
)
def test_a_key_is_a_plain_word(key: str) -> None:
    """Outer keys need no quotes in YAML, so they are plain words of at most 160 characters."""
    with pytest.raises(ValueError, match="not a key"):
        lines.dumps({key: 1})


def test_the_writer_reaches_the_readers_limits() -> None:
    """Depth 16 and names of 160 characters, however escaped, are read by both readers."""
    value = {"a": deep(15), "b": {"\x85" * 160: 1}, "c": 10**350, "d": (1, 2)}
    written = lines.dumps(value)
    assert lines.loads(written) == yaml.safe_load(written) == {**value, "d": [1, 2]}


class Float(float):
    """A float with a text of its own, as numpy's."""

    def __repr__(self) -> str:
        return f"Float({float(self)})"


class Integer(int):
    """An integer with a text of its own, as an enumeration's."""

    def __repr__(self) -> str:
        return "Integer"

    __str__ = __repr__


def test_numbers_of_other_libraries_are_written_as_numbers() -> None:
    """Subclasses of float and int are written by value, whatever they show themselves as."""
    assert lines.dumps({"a": [Float(1e-5), Integer(7), True]}) == b"a: [1.0e-05, 7, true]\n"


@given(files)
def test_a_seal_holds(file: dict[str, Value]) -> None:
    """A sealed file gives back its body, reads as lines, and ends with the body's digest."""
    body = lines.dumps(file)
    sealed = lines.seal(body)
    assert lines.unseal(sealed) == body
    assert lines.loads(sealed) == {**file, "seal": str(digest_of(body))}


SEALED = lines.seal(lines.dumps({"mvc": 1, "metrics": {"acc": 0.95}, "message": "é"}))


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_every_flipped_byte_breaks_the_seal(mask: int) -> None:
    """No single damaged byte, wherever it lies, gets past the seal."""
    for at in range(len(SEALED)):
        raw = bytearray(SEALED)
        raw[at] ^= mask
        with pytest.raises(FormatError, match="seal"):
            lines.unseal(bytes(raw))


def test_a_seal_covers_the_whole_file() -> None:
    """Nothing can be cut off, put in front, put behind or left out."""
    for at in range(len(SEALED)):
        for raw in (SEALED[:at], SEALED[at + 1 :], SEALED[:at] + SEALED[at + 1 :]):
            with pytest.raises(FormatError):
                lines.unseal(raw)
    for raw in (SEALED + b"\n", SEALED + b"a: 1\n", b"\n" + SEALED, SEALED * 2):
        with pytest.raises(FormatError):
            lines.unseal(raw)
    with pytest.raises(FormatError):
        lines.unseal(lines.seal(b""))
    with pytest.raises(FormatError):
        lines.unseal(lines.seal(b"a: 1"))


def test_the_record_on_the_page_is_read_by_both() -> None:
    """The page's record bears its seal, and both readers find the values beside it."""
    (text,) = re.findall(r"^```yaml record\n(.*?)^```", build.page("lines.md"), re.DOTALL | re.M)
    raw = text.encode()
    read: Any = lines.loads(raw)
    assert same(yaml.safe_load(raw), read)
    assert lines.unseal(raw) == lines.dumps({k: v for k, v in read.items() if k != "seal"})
    assert read["params"] == {"lr": 1e-05, "version": "1.10", "warm_up": False}
    assert read["message"] == "größer\u2028second line: \U0001f600"


def test_the_bytes_on_the_page_are_the_writers() -> None:
    """The page's hexdump is, byte for byte, what is written for the values named there."""
    assert build.example("lines.md") == lines.dumps({"lr": 1e-05, "note": "é\x85\t\U0001f600"})


@pytest.mark.parametrize("row", re.findall(r"^\| `(.+)` \| (.+) \|$", build.page("lines.md"), re.M))
def test_the_forms_on_the_page_are_the_writers(row: tuple[str, str]) -> None:
    """Each form in the page's table is what is written for the value it stands for."""
    form = row[0]
    value = json.loads(form)
    assert lines.dumps({"a": value}) == f"a: {form}\n".encode()
