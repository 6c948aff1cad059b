"""A number of 16 or 32 bits is kept as the decimal that it was meant to be."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc import ModelRegistry
from mvc.registry.intake.floats import float_of
from mvc.training import plain
from tests.cli.running import write_model


@given(st.floats(width=32, allow_nan=False))
def test_a_float32_is_what_numpy_prints(value: float) -> None:
    """Its decimal is the shortest that is the same number in 32 bits; whole numbers are exact."""
    number = np.float32(value)
    printed = value if value.is_integer() else float(np.format_float_scientific(number))
    assert float_of(number) == printed


@given(st.floats(width=16, allow_nan=False))
def test_a_float16_is_the_same_number_in_16_bits(value: float) -> None:
    """Whatever it is, and the shortest decimal of it as well."""
    number = np.float16(value)
    printed = value if value.is_integer() else float(np.format_float_scientific(number))
    assert float_of(number) == printed


def test_what_has_64_bits_stays_as_it_is() -> None:
    """Floats of Python and numpy are not rounded, and neither is what is not finite."""
    third = struct.unpack("<f", struct.pack("<f", 1 / 3))[0]
    for value in (third, np.float64(third), 1 / 3, 5, True, float("inf")):
        assert float_of(value) == float(value)
    assert np.isnan(float_of(np.float32("nan")))


def _numbers() -> list[Any]:
    torch = pytest.importorskip("torch")
    return [
        np.float32(0.92),
        np.array(0.92, "f4"),
        torch.tensor(0.92),
        torch.tensor([0.92], requires_grad=True),
    ]


def test_a_metric_of_32_bits_meets_a_requirement_in_decimals(tmp_path: Path) -> None:
    """0.92 that came as a tensor is 0.92: as a metric, as a parameter, and from a trainer."""
    registry = ModelRegistry(tmp_path)
    path = write_model(tmp_path / "a.safetensors")
    for value in _numbers():
        added = registry.add("net", path, {"acc": value}, params={"lr": value.reshape(())})
        assert (added.metrics, added.params) == ({"acc": 0.92}, {"lr": 0.92})
        assert plain.metrics({"acc": value}) == {"acc": 0.92}
        assert plain.params({"lr": value.reshape(())}) == {"lr": 0.92}
        registry.tag(added, "prod")
    registry.add("net", path, {"acc": 0.92}, require="acc >= @prod.acc")
