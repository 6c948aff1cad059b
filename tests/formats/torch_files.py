"""Files as torch writes them, and what goes into them; skips what imports it without torch."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.formats.sources import bytes_of, is_sound, layout_of, named

torch = pytest.importorskip("torch")


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def saved_the_old_way(value: Any, **options: Any) -> bytes:
    return saved(value, _use_new_zipfile_serialization=False, **options)


def raw(tensor: Any) -> bytes:
    flat = tensor.detach().contiguous().flatten()
    return bytes(flat.view(torch.uint8).numpy().tobytes()) if flat.numel() else b""


def saved_distributed(state: dict[str, Any]) -> bytes:
    """Save a distributed checkpoint of one process, and return its only file of tensors."""
    from torch.distributed import checkpoint

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is one process
        checkpoint.save(state, checkpoint_id=folder)
        (path,) = Path(folder).glob("*.distcp")
        return path.read_bytes()


def assert_told(data: bytes, expected: dict[str, Any]) -> None:
    """Check that the layout has just these tensors: names, types, shapes and bytes."""
    layout = layout_of(data)
    assert is_sound(layout, len(data))
    assert list(named(layout)) == list(expected)
    for name, tensor in named(layout).items():
        wanted = expected[name]
        assert tensor.dtype == str(wanted.dtype).removeprefix("torch."), name
        assert tensor.shape == tuple(wanted.shape), name
        assert tensor.stride is None, name
        assert bytes_of(data, layout, tensor) == raw(wanted), name


def of_every_type() -> dict[str, Any]:
    words = (
        "float32 float64 float16 bfloat16 complex64 complex128 bool int8 uint8 int16 int32 int64"
        " uint16 uint32 uint64 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
        " float8_e8m0fnu float4_e2m1fn_x2"
    )
    tensors = {}
    for word in words.split():
        dtype = getattr(torch, word)
        size = 6 * dtype.itemsize
        numbers = torch.randint(0, 2 if word == "bool" else 256, (size,), dtype=torch.uint8)
        tensors[f"of.{word}"] = numbers.view(dtype).reshape(2, 3)
    return tensors


def small_model() -> Any:
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2, bias=False)
    )
    layers.register_buffer("mask", torch.ones(3))
    layers.register_buffer("scratch", torch.ones(5), persistent=False)
    return layers
