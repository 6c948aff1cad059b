"""Plain: what trainers know of a run, as numbers and text that a record can have.

Trainers keep tensors, classes, paths and whole objects where others keep
numbers. What has a plain form is given it; what has none is left out, for a
record is no place for the address of an object.

Public names: ``metrics``, ``params``, ``problem``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import Any

from mvc.errors import MvcError
from mvc.registry.intake.floats import float_of
from mvc.system_errors import in_words

MOST_TEXT = 1000
"""Characters; what is longer is no hyper-parameter."""

MOST_VALUES = 1000
"""In one list or mapping, and names in all."""

_DEEPEST = 6
_NAME = 128
_SECRET = re.compile(
    r"(?:^|[._-])(?:token|secret|password|passwd|key|credentials?)$", re.IGNORECASE
)
_NOT_IN_METRICS = re.compile(r"[^A-Za-z0-9_./@:-]+")
_NONE = object()


def metrics(values: Mapping[str, Any], first: str | None = None) -> dict[str, float]:
    """Return what is a single number, by names that metrics may have.

    Args:
        first: The name of the one that tells which checkpoint is best.
    """
    found = {}
    for name in sorted(values, key=lambda name: name != first):
        value = values[name]
        if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
            continue
        try:
            found[_NOT_IN_METRICS.sub("_", str(name))[:_NAME]] = float_of(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            continue  # a tensor of several numbers
    return found


def params(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what has a plain form; what is called as a password would be is left out."""
    found = _plain(values, _DEEPEST)
    return found if isinstance(found, dict) else {}


def problem(error: Exception) -> str:
    """Return what is wrong, in one line."""
    if isinstance(error, (MvcError, OSError)):
        return str(in_words(error))
    return f"{type(error).__name__}: {error}"


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(value) if len(value) <= MOST_TEXT else _NONE
    if isinstance(value, Mapping):
        return _mapping(value, depth - 1) if depth else _NONE
    if isinstance(value, (list, tuple, set, frozenset)):
        few = depth and len(value) <= MOST_VALUES
        items = [_plain(item, depth - 1) for item in value] if few else [_NONE]
        return _NONE if _NONE in items else items
    return _word(value)


def _mapping(values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    found = {}
    for key, value in islice(values.items(), MOST_VALUES):
        with contextlib.suppress(Exception):  # what cannot even be looked at is left out
            name = str(key)
            if name and name.isprintable() and len(name) <= _NAME and not _SECRET.search(name):
                plain = _plain(value, depth)
                if plain is not _NONE:
                    found[name] = plain
    return found


def _word(value: Any) -> Any:
    """Return a path, a class, a function, a type of torch or a scalar in plain form."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    if type(value).__module__ == "torch" and type(value).__name__ in ("dtype", "device", "Size"):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        item = value.item()
        return float_of(value) if isinstance(item, float) else _plain(item, 0)
    return _NONE
