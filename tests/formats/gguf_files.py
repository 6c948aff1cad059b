"""Files as the gguf library writes them, and by hand as it never would; skips without it."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

gguf = pytest.importorskip("gguf")
np = pytest.importorskip("numpy")


def saved(
    tensors: Mapping[str, Any], *, alignment: int = 32, values: bool = False, **options: Any
) -> bytes:
    """Write arrays; a pair is a type of ggml's and the bytes of its blocks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(path, "llama", **options)
        if alignment != 32:
            writer.add_custom_alignment(alignment)
        if values:
            _add_values_of_every_type(writer)
        for name, tensor in tensors.items():
            if isinstance(tensor, tuple):
                writer.add_tensor(name, tensor[1], raw_dtype=tensor[0])
            else:
                writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _add_values_of_every_type(writer: Any) -> None:
    for kind in gguf.GGUFValueType:
        if kind is gguf.GGUFValueType.ARRAY:
            writer.add_array("a.numbers", [1, 2, 3])
            writer.add_array("a.text", ["größe", "", "x" * 1000])
            writer.add_array("a.nested", [[1, 2], [3]])
            writer.add_array("a.truth", [True, False])
        elif kind is gguf.GGUFValueType.STRING:
            writer.add_string("a.string", "größe")
        elif kind is gguf.GGUFValueType.BOOL:
            writer.add_bool("a.bool", True)
        else:
            writer.add_key_value(f"a.{kind.name}", 1, kind)


def text(value: bytes, width: str = "Q") -> bytes:
    return struct.pack("<" + width, len(value)) + value


def entry(name: str, shape: Iterable[int], kind: int, offset: int, width: str = "Q") -> bytes:
    """Return what the header says of a tensor; ``shape`` as in the file, the fastest first."""
    shape = list(shape)
    lengths = struct.pack(f"<{len(shape)}{width}", *shape)
    place = struct.pack("<IQ", kind, offset)
    return text(name.encode(), width) + struct.pack("<I", len(shape)) + lengths + place


def written(
    entries: Iterable[bytes],
    body: bytes = b"",
    *,
    values: Iterable[bytes] = (),
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    """Write a file by hand, with whatever lies it is given."""
    entries, values = list(entries), list(values)
    width = "I" if version == 1 else "Q"
    claims = counts or (len(entries), len(values))
    header = b"GGUF" + struct.pack(f"<I2{width}", version, *claims)
    header += b"".join(values) + b"".join(entries)
    return header + bytes(-len(header) % alignment) + body
