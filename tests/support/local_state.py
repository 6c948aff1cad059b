"""What a process in the middle of its steps has in its hands, as one value.

Where it stands and every local variable, down through the generators it waits
for. Two processes for which this is equal do the same from here on, as long
as what they find on the disk is the same. A value of a kind not known here is
an error, never left out: it might be what makes the difference.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Generator, Hashable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mvc.durability import Together
from mvc.fileio import NewFile
from mvc.registry.manifest import Manifest
from mvc.store import Store, Transaction
from mvc.store.index import PackIndex
from mvc.store.mark import Census
from mvc.store.pack import IndexBlock, PackReader, PackWriter

# What they hold does not change while they are held, or is told by other values beside them.
CONSTANT = (
    types.ModuleType,
    type,
    types.BuiltinFunctionType,
    pytest.MonkeyPatch,
    IndexBlock,
    Census,
)


def state_of(steps: Generator[Any, Any, Any]) -> Hashable:
    """Return where a generator stands and what it holds; ``None`` when it has ended."""
    found: list[Hashable] = []
    inner: Any = steps
    while isinstance(inner, types.GeneratorType) and inner.gi_frame is not None:
        frame = inner.gi_frame
        held = tuple((name, _frozen(value)) for name, value in sorted(frame.f_locals.items()))
        found.append((frame.f_code.co_name, frame.f_lasti, held))
        inner = inner.gi_yieldfrom
    return tuple(found)


def _frozen(value: Any) -> Hashable:
    if value is None or isinstance(value, (bool, int, str, bytes, timedelta)):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    if isinstance(value, (set, frozenset)):
        return frozenset(map(_frozen, value))
    if isinstance(value, dict):
        return frozenset((_frozen(key), _frozen(item)) for key, item in value.items())
    if isinstance(value, types.GeneratorType):
        return state_of(value)
    return _frozen_object(value)


def _frozen_object(value: Any) -> Hashable:
    if isinstance(value, CONSTANT):
        return type(value).__name__
    if isinstance(value, Store):
        return _frozen(value.index)
    if isinstance(value, PackIndex):
        return tuple(value.names), frozenset(value._open), frozenset(value.damaged)
    if isinstance(value, Transaction):
        parts = value._seen, value._recipes, value._reused_from, value._packs, value._intent
        return value.id, value.stored, value.reused, _frozen(parts)
    if isinstance(value, PackReader):
        return str(value.path)
    if isinstance(value, PackWriter):
        return str(value.path), value.size, tuple(value._entries)
    if isinstance(value, Together):
        return value.at_once
    if isinstance(value, NewFile):
        return str(value.path), value.size
    if isinstance(value, Together):
        return value.at_once
    if isinstance(value, Manifest):
        return frozenset(value._records), frozenset(value._events)
    if isinstance(value, types.FunctionType):
        cells = tuple(_frozen(cell.cell_contents) for cell in value.__closure__ or ())
        return value.__qualname__, cells
    if isinstance(value, partial):
        return value.func.__qualname__, _frozen(value.args), _frozen(value.keywords)
    if isinstance(value, types.MethodType):
        return value.__qualname__, _frozen(value.__self__)
    if isinstance(value, BaseException):
        return repr(value)
    if dataclasses.is_dataclass(value):
        return tuple(_frozen(getattr(value, item.name)) for item in dataclasses.fields(value))
    raise TypeError(f"a process holds {value!r}, which nobody knows how to compare")
