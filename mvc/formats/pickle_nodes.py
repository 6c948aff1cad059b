"""What a walked pickle consists of, besides plain numbers, text, lists and tuples.

Nodes are compared by identity and hold no bytes; graphs of them may share
nodes and have cycles. See ``mvc.formats.inert_pickle``.

Public names: ``Ref``, ``Call``, ``Pairs``, ``Persistent``, ``SKIPPED``.
"""

from __future__ import annotations


class Ref(str):
    """A global as its dotted name, ``torch._utils._rebuild_tensor_v2``."""

    __slots__ = ()


class Pairs(list[object]):
    """A dict as key, value, key, value, …: keys may be nodes, which do not hash."""

    __slots__ = ()


class Call:
    """What a function, or a class, would be called with; and what follows the call.

    ``state`` is what ``BUILD`` would set, ``items`` and ``elements`` what would
    be put into the result as into a dict or a list.
    """

    __slots__ = ("args", "elements", "function", "items", "state")

    def __init__(self, function: object, args: tuple[object, ...]) -> None:
        self.function = function
        self.args = args
        self.state: object = None
        self.items: Pairs | None = None
        self.elements: list[object] | None = None


class Persistent:
    """A reference to something outside the pickle: in torch, a storage."""

    __slots__ = ("id",)

    def __init__(self, id: object) -> None:
        self.id = id


class _Skipped:
    def __repr__(self) -> str:
        return "SKIPPED"


SKIPPED = _Skipped()
"""Stands for bytes, and for text and numbers too long to be kept."""
