"""Values that are read and never written to: what a record says, as Python sees it.

They are dicts and lists in all but that, so that they compare, print, pickle
and become JSON as such; ``dict(…)`` and ``copy()`` give one to write in.

Public names: ``unchanging``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class _Dict(dict[str, Any]):
    __slots__ = ()

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return type(self), (dict(self),)


class _List(list[Any]):
    __slots__ = ()

    def __reduce__(self) -> tuple[type, tuple[list[Any]]]:
        return type(self), (list(self),)


def unchanging(value: Any) -> Any:
    """Return a copy of a mapping or list that refuses every change, also in what it holds."""
    if isinstance(value, Mapping):
        return _Dict({key: unchanging(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return _List(map(unchanging, value))
    return value


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    kind = type(self).__base__.__name__  # type: ignore[union-attr]  # both have a base
    raise TypeError(f"a version never changes; {kind}(…) makes a copy that may be written to")


_WRITING = "__setitem__ __delitem__ clear pop".split()
for _name in (*_WRITING, "__ior__", "popitem", "setdefault", "update"):
    setattr(_Dict, _name, _refuse)
for _name in (*_WRITING, *"__iadd__ __imul__ append extend insert remove reverse sort".split()):
    setattr(_List, _name, _refuse)
