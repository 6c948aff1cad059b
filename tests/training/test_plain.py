"""Metrics and hyper-parameters as trainers have them, and what a record gets of them."""

from __future__ import annotations

import functools
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvc.training import plain


class Colour(Enum):
    """An option as libraries have them."""

    RED = "red"


def test_metrics_are_single_numbers() -> None:
    """What is a number is kept, the one that counts first, by names that metrics may have."""
    found = plain.metrics(
        {"text": "0.5", "loss a": np.float32(0.25), "vector": np.ones(3), "none": None, "acc": 1},
        first="acc",
    )
    assert list(found.items()) == [("acc", 1.0), ("loss_a", 0.25)]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Path("a/b"), "a/b"),
        (Colour.RED, "red"),
        (np.int64(3), 3),
        ({"a": {"b": (1, "x", None)}}, {"a": {"b": [1, "x", None]}}),
        (dict, "builtins.dict"),
        (plain.metrics, "mvc.training.plain.metrics"),
        (float("inf"), float("inf")),
    ],
)
def test_what_has_a_plain_form_has_it(value: Any, kept: Any) -> None:
    """Paths, options, scalars, classes and functions become text and numbers."""
    assert plain.params({"it": value}) == {"it": kept}


class Unspeakable:
    """Fails whenever it is looked at."""

    ndim = 0

    def item(self) -> None:
        raise RuntimeError("no such element")


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Unspeakable(),
        "x" * 2000,
        np.ones(3),
        list(range(5000)),
        functools.partial(print, 1),
    ],
)
def test_what_has_none_is_left_out(value: Any) -> None:
    """No address of an object, and nothing endless, gets into a record."""
    assert plain.params({"it": value, "lr": 0.1}) == {"lr": 0.1}


def test_nothing_is_followed_for_ever() -> None:
    """Values that hold themselves end."""
    endless: dict[str, Any] = {"lr": 0.1}
    endless["self"] = endless
    assert plain.params(endless)["lr"] == 0.1


@pytest.mark.parametrize("name", ["api_key", "hub_token", "db.password", "TOKEN", "aws-secret"])
def test_secrets_are_left_out(name: str) -> None:
    """What is called as a password is never sealed; what only sounds like it is kept."""
    assert plain.params({name: "abc", "max_tokens": 5, "keys": 3}) == {"max_tokens": 5, "keys": 3}
