"""Lines: the form of every file that people may read in a registry.

A file is lines ``key: <JSON value>``. Any YAML reader reads them and gives
the same values; ours takes one ``json`` call a line. The writer keeps to the
part of JSON that YAML 1.1 reads alike: floats carry a point (``1.0e-05``;
``1e-05`` would be text), and characters that YAML folds or refuses are
escaped. The reader refuses what YAML would quietly accept (a key twice,
non-finite numbers, nesting without end) and what YAML would read otherwise
(a carriage return, ``1e5``, the key ``no``), so that no two readers differ.

A *sealed* file ends with ``seal:``, the digest of every byte above it.

Rules and a worked example: ``docs/formats/lines.md``.
Public names: ``Value``, ``dumps``, ``loads``, ``seal``, ``unseal``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from mvc.digest import digest_of
from mvc.errors import FormatError

# What a value may be: JSON, with finite floats.
Value: TypeAlias = "bool | int | float | str | Sequence[Value] | Mapping[str, Value] | None"

MAX_SIZE = 1 << 20
MAX_DEPTH = 16
# YAML allows an implicit key 1024 characters; escapes take up to six each.
MAX_KEY = 160
# Beyond this a decimal integer costs quadratic time, and no reader agrees.
MAX_INTEGER_DIGITS = 400

_KEY = re.compile(rf"[a-z][a-z0-9_]{{0,{MAX_KEY - 1}}}\Z")
# Plain words that YAML 1.1 takes for a truth value or for nothing.
_NOT_KEYS = frozenset("y n yes no on off true false null".split())
# Text that YAML does not take literally inside double quotes: C1 controls and
# DEL, its extra line breaks, the byte order mark, noncharacters.
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BARE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BARE_ASCII = bytes({*range(0x20), 0x7F} - {0x0A})
_SURROGATE = re.compile("[\ud800-\udfff]")
# Half a pair is no text, and YAML reads a whole pair as two halves.
_SURROGATE_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F]")
# Other forms of JSON, such as 1e5, are text in YAML 1.1.
_FLOAT = re.compile(r"-?[0-9]+\.[0-9]+(?:[eE][-+][0-9]+)?\Z")
_SEAL_KEY = b"seal: "
_SEAL_SIZE = len(_SEAL_KEY) + len('"b3:"\n') + 64


def dumps(values: Mapping[str, Value]) -> bytes:
    """Write ``values`` as lines, in their order.

    Raises:
        ValueError: A key is not a plain word, a float is not finite, text
            holds a lone surrogate, or nesting is deeper than ``MAX_DEPTH``.
    """
    text = []
    for key, value in values.items():
        if not _KEY.match(key) or key in _NOT_KEYS:
            raise ValueError(f"not a key: {key!r}")
        text.append(f"{key}: {_encode(value, 1)}\n")
    return "".join(text).encode("utf-8")


def loads(data: bytes) -> dict[str, Value]:
    """Read lines back; the order of the keys is that of the file.

    Raises:
        FormatError: The bytes are not lines, with the line's number.
    """
    if len(data) > MAX_SIZE:
        raise FormatError(f"{len(data)} bytes of lines, the limit is {MAX_SIZE}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"not UTF-8 at byte {error.start}") from None
    if len(data.translate(None, _BARE_ASCII)) != len(data) or not data.isascii():
        _refuse_bare(text)
    if not text.endswith("\n"):
        raise FormatError("the last line is cut off" if text else "the file is empty")
    values: dict[str, Value] = {}
    for number, line in enumerate(text[:-1].split("\n"), start=1):
        key, separator, value = line.partition(": ")
        if not separator or not _KEY.match(key) or key in _NOT_KEYS:
            raise FormatError(f"line {number} is not 'key: value'")
        if key in values:
            raise FormatError(f"line {number} repeats the key {key!r}")
        try:
            values[key] = _decode(value)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"line {number} ({key}): {_reason(error)}") from None
    return values


def seal(body: bytes) -> bytes:
    """Return ``body`` with the line that seals it."""
    return body + f'seal: "{digest_of(body)}"\n'.encode()


def unseal(data: bytes) -> bytes:
    """Return the bytes above the seal, or raise ``FormatError`` if it does not hold."""
    body, last = data[:-_SEAL_SIZE], data[-_SEAL_SIZE:]
    if len(data) > MAX_SIZE or not last.startswith(_SEAL_KEY) or not body.endswith(b"\n"):
        raise FormatError("the seal is missing")
    if seal(body) != data:
        raise FormatError("the seal does not match: the file was changed")
    return body


def _encode(value: Value, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, float):
        return _encode_float(value)
    if isinstance(value, str):
        return _encode_text(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or len(key) > MAX_KEY:
                raise ValueError(f"not a name of at most {MAX_KEY} characters: {str(key)[:80]!r}")
        inner = (f"{_encode_text(k)}: {_encode(v, depth + 1)}" for k, v in value.items())
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return "[" + ", ".join(_encode(item, depth + 1) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        if value.bit_length() > 3 * MAX_INTEGER_DIGITS:
            raise ValueError("an integer of over 360 digits")
        return str(int(value))
    raise ValueError(f"{type(value).__name__} cannot be written")


def _encode_float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("a number that is not finite")
    text = float.__repr__(value)
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa}.0e{power}" if exponent and "." not in mantissa else text


def _encode_text(value: str) -> str:
    if _SURROGATE.search(value):
        raise ValueError(f"not text that UTF-8 can hold: {value[:80]!r}")
    text = json.dumps(value, ensure_ascii=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _refuse_bare(text: str) -> None:
    if found := _BARE.search(text):
        number = text.count("\n", 0, found.start()) + 1
        raise FormatError(f"line {number} holds U+{ord(found.group()):04X} as it is")


def _decode(text: str) -> Value:
    if "\\u" in text and _SURROGATE_ESCAPE.search(text):
        raise ValueError("an escaped surrogate")
    value: Value = _JSON.decode(text)
    if text.count("[") + text.count("{") >= MAX_DEPTH:
        _check_depth(value)
    return value


def _check_depth(value: Value) -> None:
    level: list[Value] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for outer in level
            if isinstance(outer, (dict, list))
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH}")


def _pairs(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name stands twice")
    if max(map(len, values), default=0) > MAX_KEY:
        raise ValueError(f"a name has over {MAX_KEY} characters")
    return values


def _constant(text: str) -> Value:
    raise ValueError(f"{text} is not a number here")


def _integer(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise ValueError("an integer without end")
    return int(text)


def _float(text: str) -> float:
    if not _FLOAT.match(text):
        raise ValueError(f"{text[:40]} is a number in JSON and text in YAML: write 1.0e+05")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number too large for a float")
    return value


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error) or "too deep"


_JSON = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_constant=_constant,
    parse_int=_integer,
    parse_float=_float,
)
