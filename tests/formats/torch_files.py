"""Files as torch writes them, and what goes into them; skips what imports it without torch."""

from __future__ import annotations

import io
from typing import Any

import pytest

torch = pytest.importorskip("torch")


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


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
