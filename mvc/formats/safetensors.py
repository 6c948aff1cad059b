"""safetensors: a JSON header with a range per tensor, then the ranges.

Every tensor is a storage of its own, and the ranges cover the rest of the
file without holes; a file where they do not is refused, as the format does.

Layout, limits and a worked example: ``docs/formats/safetensors.md``.
Public names: ``matches``, ``describe``, ``whole_size``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from mvc.errors import FormatError
from mvc.formats.dtypes import MAX_DIMENSIONS, width_of
from mvc.formats.layout import Layout, Source, Storage, Tensor
from mvc.formats.reading import read_exactly

FORMAT = "safetensors"
PREFIX_SIZE = 8
MAX_HEADER = 100_000_000
MAX_WIDE_HEADER = 16 << 20  # where not all is ASCII: text takes up to four bytes a character
MAX_VALUES = 2_000_000  # about 200,000 tensors; 0.4 GB while they are read
MAX_DTYPE = 32

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F6_E2M3": "float6_e2m3fn",
    "F6_E3M2": "float6_e3m2fn",
    "F4": "float4_e2m1fn",
}
FRAMEWORKS = {"pt": "pytorch", "tf": "tensorflow", "flax": "jax", "np": "numpy"}

_Pairs = tuple[tuple[str, object], ...]


def matches(head: bytes) -> bool:
    """Tell whether a file may begin so: a length that is possible, and a brace."""
    length = int.from_bytes(head[:PREFIX_SIZE], "little")
    return 2 <= length <= MAX_HEADER and head[PREFIX_SIZE : PREFIX_SIZE + 1] == b"{"


def describe(source: Source) -> Layout:
    """Return the tensors of a safetensors file, in the order of its header.

    Raises:
        FormatError: the header is too large, no JSON of the right form, or
            names something twice; or the ranges do not cover the rest of the
            file exactly.
    """
    start = PREFIX_SIZE + _header_size(source)
    header = _parse(read_exactly(source, PREFIX_SIZE, start - PREFIX_SIZE, limit=MAX_HEADER))
    parsed = [_entry(name, entry) for name, entry in header if name != "__metadata__"]
    _check_cover((where for _, _, _, where in parsed), source.size - start)
    storages: list[Storage] = []
    position: dict[int, int] = {}
    for _, dtype, _, (begin, end) in sorted(parsed, key=lambda entry: entry[3]):
        if end > begin:
            position[begin] = len(storages)
            storages.append(Storage(start + begin, end - begin, width_of(dtype)))
    tensors = tuple(
        Tensor(name, dtype, shape, position[begin], 0, end - begin)
        if end > begin
        else Tensor(name, dtype, shape, None, 0, 0)
        for name, dtype, shape, (begin, end) in parsed
    )
    return Layout(FORMAT, _framework(header), tuple(storages), tensors)


def whole_size(source: Source) -> int:
    """Return how many bytes a file has by what its header says, or at least, if it lacks some.

    Raises:
        FormatError: the header is there and says nothing of the right form.
    """
    start = PREFIX_SIZE + _header_size(source)
    if start > source.size:
        return start
    header = _parse(read_exactly(source, PREFIX_SIZE, start - PREFIX_SIZE, limit=MAX_HEADER))
    ends = [_entry(name, entry)[3][1] for name, entry in header if name != "__metadata__"]
    return start + max(ends, default=0)


def _header_size(source: Source) -> int:
    return int.from_bytes(read_exactly(source, 0, PREFIX_SIZE, limit=PREFIX_SIZE), "little")


def _parse(raw: bytes) -> _Pairs:
    """Return the header's pairs; how much memory that takes is bounded first."""
    if not raw.isascii() and len(raw) > MAX_WIDE_HEADER:
        raise FormatError(f"a header of {len(raw)} bytes that is not ASCII")
    if sum(raw.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise FormatError(f"a header of more than {MAX_VALUES} values")
    try:
        header = json.loads(raw.decode(), object_pairs_hook=_distinct, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"a header that is not JSON: {error}") from None
    if not isinstance(header, tuple):
        raise FormatError("a header that is no object")
    return header


def _distinct(pairs: list[tuple[str, object]]) -> _Pairs:
    """Keep an object as its pairs, so that keys are known to be distinct."""
    if len(pairs) != len({name for name, _ in pairs}):
        raise FormatError("a header with two equal keys")
    return tuple(pairs)


def _refuse(constant: str) -> object:
    raise FormatError(f"a header with {constant}")


def _entry(name: str, entry: object) -> tuple[str, str, tuple[int, ...], tuple[int, int]]:
    """Return name, type, shape and range of one tensor."""
    what = f"tensor {name[:80]!r}"
    fields = dict(entry) if isinstance(entry, tuple) else {}
    if fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"{what} has other fields than type, shape and offsets")
    code, shape = fields["dtype"], _whole_numbers(fields["shape"], what)
    begin, end = _whole_numbers(fields["data_offsets"], what, count=2)
    if not isinstance(code, str) or len(code) > MAX_DTYPE or not code.replace("_", "").isalnum():
        raise FormatError(f"{what} has no type")
    dtype = DTYPES.get(code, code.lower())
    if code == "F4" and shape and shape[-1] % 2 == 0:  # as torch has it: two in a byte
        dtype, shape = "float4_e2m1fn_x2", (*shape[:-1], shape[-1] // 2)
    return name, dtype, shape, (begin, end)


def _whole_numbers(value: object, what: str, *, count: int | None = None) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else [None]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise FormatError(f"{what} has something else than whole numbers")
    if len(numbers) > MAX_DIMENSIONS or (count is not None and len(numbers) != count):
        raise FormatError(f"{what} has {len(numbers)} numbers in a place of others")
    return tuple(numbers)


def _check_cover(ranges: Iterable[tuple[int, int]], size: int) -> None:
    """Refuse ranges that overlap, leave holes, or do not end with the file."""
    at = 0
    for begin, end in sorted(ranges):
        if begin != at or end < begin:
            raise FormatError(f"a tensor lies at {begin} to {end}, the one before ends at {at}")
        at = end
    if at != size:
        raise FormatError(f"tensors end at {at}, the file at {size}")


def _framework(header: _Pairs) -> str | None:
    metadata = dict(header).get("__metadata__", ())
    if not isinstance(metadata, tuple):
        raise FormatError("metadata that is no object")
    kind = dict(metadata).get("format")
    return FRAMEWORKS.get(kind) if isinstance(kind, str) else None
