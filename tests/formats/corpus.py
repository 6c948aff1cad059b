"""Real files of every format, and ways to damage them that follow from a number.

``mutant(format, number)`` is the same bytes each time in one process: a
failure names format and number.
"""

from __future__ import annotations

import io
import pickle
import random
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.formats import gguf_files
from tests.formats.pages import example
from tests.formats.sources import TENSOR
from tests.formats.torch_files import (
    of_every_type,
    saved,
    saved_distributed,
    saved_the_old_way,
    small_model,
)

joblib = pytest.importorskip("joblib")
np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

NUMBERS = [0, 1, 2, 3, 7, 8, 16, 31, 32, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31]
NUMBERS += [2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
WORDS = [b"[", b"{", b"}", b"]", b"(", b")", b'"', b"'", b",", b":", b"-", b"e9", b"0", b"9" * 20]
WORDS += [b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"GGUF", b"\x93NUMPY", b"\xff\xff"]
OPCODES = b"N)]}(.0129tlduaesbRQ\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94\x97\x98"


def _in_memory(write: Callable[[io.BytesIO], object]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(file := io.BytesIO())
    return file.getvalue()


def _state() -> dict[str, Any]:
    flat = torch.arange(40.0)
    return {
        "a": torch.ones(3, 4),
        "b": torch.zeros(2, dtype=torch.int8),
        "c": torch.ones(()),
        "flat": [flat[:10], flat[10:30]],
        "t": torch.ones(2, 3).t(),
        "none": torch.zeros(0, 3),
    }


def _package(file: io.BytesIO) -> None:
    with torch.package.PackageExporter(file) as exporter:
        exporter.save_pickle("models", "model.pkl", _state())


def _arrays() -> dict[str, Any]:
    words = "float32 float16 float64 int8 int16 int32 int64"
    return {word: np.arange(6).reshape(2, 3).astype(word) for word in words.split()}


FORMATS: dict[str, Callable[[], list[bytes]]] = {
    "torch-zip": lambda: [
        saved(_state()),
        saved(small_model()),
        saved(of_every_type(), pickle_protocol=4),
        _in_memory(lambda file: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), file)),
        _in_memory(_package),
    ],
    "torch-legacy": lambda: [
        saved_the_old_way(_state()),
        saved_the_old_way(of_every_type(), pickle_protocol=4),
        saved_the_old_way(_state(), pickle_protocol=1),
    ],
    "torch-dcp": lambda: [
        saved_distributed({"a": torch.ones(3, 4), "b": torch.zeros(0, 3), "step": 7}),
        saved({}) + saved(torch.ones(2, 3).t()) + saved(torch.zeros(0)),
    ],
    "safetensors": lambda: [
        safetensors_torch.save(
            {"a": torch.ones(3, 4), "b": torch.zeros(0), "größe": torch.ones(1)}
        ),
        safetensors_torch.save({"q": torch.zeros(8, dtype=torch.int8)}, {"format": "pt"}),
    ],
    "gguf": lambda: [
        gguf_files.saved(_arrays(), values=True),
        gguf_files.saved(
            {"q": (gguf_files.gguf.GGMLQuantizationType.Q4_0, np.zeros((2, 36), np.uint8))}
        ),
        gguf_files.written([gguf_files.entry("w", [2], 0, 0, "I")], bytes(8), version=1),
    ],
    "npy": lambda: [
        _in_memory(lambda file: np.save(file, np.ones((2, 3), order="F"))),
        _in_memory(lambda file: np.save(file, np.array(["text"]))),
        _in_memory(lambda file: np.lib.format.write_array(file, np.ones(2), (3, 0))),
    ],
    "onnx": lambda: [example("onnx.md")],
    "pickle": lambda: [
        *(pickle.dumps(_arrays() | {"none": np.zeros((0, 2))}, protocol) for protocol in (3, 4, 5)),
        pickle.dumps([np.ones((256, 256), "u1", "F"), np.zeros(1, "M8[ns]"), ["x", 1]], 4),
    ],
    "joblib": lambda: [
        _in_memory(lambda file: joblib.dump(_arrays() | {"none": np.zeros((0, 2))}, file)),
        _in_memory(lambda file: joblib.dump([np.ones((9, 99)), {"x": np.array("text")}], file)),
        _in_memory(lambda file: joblib.dump(np.ones(9), file, protocol=2)),
    ],
    "npz": lambda: [_in_memory(lambda file: np.savez(file, **_arrays(), none=np.zeros((0, 2))))],
}


@cache
def files(format: str) -> list[bytes]:
    return FORMATS[format]()


def mutant(format: str, number: int) -> bytes:
    """Return a file of ``format`` with some damage; the same for the same number."""
    random_ = random.Random(f"{format} {number}")
    data = bytearray(random_.choice(files(format)))
    if format == "torch-legacy" and random_.random() < 0.3:
        return bytes(data[: data.index(b".", data.index(b"type_sizes")) + 1]) + _pickle(random_)
    # Most of a format's structure is at one of its ends.
    reach = random_.choice([64, 512, len(data)])
    for _ in range(random_.choice([1, 1, 2, 4, 16])):
        offset = random_.randrange(min(reach, len(data)) or 1)
        at = offset if random_.random() < 0.5 else max(0, len(data) - 1 - offset)
        _damage(data, at, random_, format)
    return bytes(data)


def _damage(data: bytearray, at: int, random_: random.Random, format: str) -> None:
    size = random_.choice([1, 2, 4, 8, 30])
    match random_.randrange(9):
        case 0:
            data[at : at + 1] = bytes([random_.randrange(256)])
        case 1:
            data[at : at + 1] = bytes([(data[at] ^ 1 << random_.randrange(8))] if data else [0])
        case 2:
            width = random_.choice([1, 2, 4, 8])
            number = random_.choice([*NUMBERS, len(data), at]) % 256**width
            data[at : at + width] = number.to_bytes(width, "little")
        case 3:
            word = random_.choice(WORDS)
            data[at : at + random_.choice([0, len(word)])] = word
        case 4:
            del data[at : at + size]
        case 5:
            data[at:at] = data[at : at + size] * random_.choice([1, 1, 2, 500])
        case 6:
            other = random_.choice(files(format))
            start = random_.randrange(len(other))
            data[at : at + random_.choice([0, size])] = other[start : start + size]
        case 7:
            del data[at : random_.choice([at + 1, at + 1, len(data)])]
        case _:
            data[at : at + size] = random_.randbytes(size)


def _pickle(random_: random.Random) -> bytes:
    """Return opcodes that often make sense, with many ways to share and to nest."""
    pieces = [b"\x80\x02", b"}"]
    for _ in range(random_.choice([5, 50, 500])):
        match random_.randrange(8):
            case 0:
                pieces.append(b"X\x01\0\0\0" + random_.choice([b"w", b"x", b"y"]))
            case 1:
                pieces.append(b"q" + bytes([random_.randrange(4)]))
            case 2:
                pieces.append(b"h" + bytes([random_.randrange(4)]))
            case 3:
                pieces.append(TENSOR)
            case 4:
                pieces.append(b"K" + bytes([random_.randrange(256)]))
            case 5:
                pieces.append(random_.choice([b"ccollections\nOrderedDict\n", b"]", b"}", b"("]))
            case _:
                pieces.append(bytes([random_.choice(OPCODES)]))
    pieces += [random_.choice([b".", b"s.", b"\x85."]), b"\x80\x02]X\x01\0\0\x000a."]
    return b"".join(pieces) + (2).to_bytes(8, "little") + bytes(8)
