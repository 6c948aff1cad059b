"""Expressions: what ``search`` is given, taken apart.

An expression is values only here; ``mvc.registry.search.parser`` makes it
from text and ``mvc.registry.search.matching`` says what it is true of.

Grammar: ``docs/search.md``.
Public names: ``Number``, ``Text``, ``Field``, ``Arithmetic``, ``Comparison``, ``Not``,
``Joined``, ``Condition``, ``Operand``, ``show``, ``fields_of``, ``selectors_of``,
``comparisons_of``, ``is_of_none``, ``number_of``, ``apart``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

# What is one word without quotes; the signs of arithmetic stand alone.
WORD = re.compile(r"""[^\s()"'=!<>~]+""")
KEYWORDS = frozenset(["and", "or", "not"])
SIGNS = frozenset("+-*/")
# What stands in a name only between quotes; in that of a metric, nowhere.
UNUSUAL = frozenset("*%")
# What a version that lacks a value is said to have.
NONE = "none"

_NUMBER = re.compile(
    r"([+-]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,4})?)"
    r"(k|M|G|T|Ki|Mi|Gi|Ti)?(B)?"
)
_RUN_TOGETHER = re.compile(r"(.+)([-+*/])([^-+*/]+)")
_UNITS = {"": 1, **{f"{name}i": 1 << 10 * n for n, name in enumerate("KMGT", 1)}}
_UNITS |= {name: 1000**n for n, name in enumerate("kMGT", 1)}


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written; beside a value that is text, it is that text."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """Text to compare with."""

    value: str


@dataclass(frozen=True, slots=True)
class Field:
    """A value of a version by its name; of another version, where ``selector`` names one."""

    name: str
    selector: str | None = None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two numbers and a sign between them."""

    left: Operand
    sign: str
    right: Operand


@dataclass(frozen=True, slots=True)
class Comparison:
    """``left operator right``; ``left`` holds a field, only ``right`` may be text."""

    left: Operand
    operator: str
    right: Operand


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    item: Condition


@dataclass(frozen=True, slots=True)
class Joined:
    """Two conditions or more, all of which must hold (``and``), or one (``or``)."""

    word: str
    items: tuple[Condition, ...]


Operand: TypeAlias = "Number | Text | Field | Arithmetic"
Condition: TypeAlias = "Comparison | Not | Joined"


def number_of(text: str) -> int | float | None:
    """Return the number that a word is, as ``0.9``, ``-1e-5`` or ``1.5GB``; ``None`` if none."""
    match = _NUMBER.fullmatch(text)
    if match is None or (match.group(3) is None) != (match.group(2) is None):
        return None
    value: int | float
    try:
        value = int(match.group(1))
    except ValueError:
        value = float(match.group(1))
    value *= _UNITS[match.group(2) or ""]
    return value if isinstance(value, int) or math.isfinite(value) else None


def apart(text: str) -> str | None:
    """Return a word with spaces around its signs, if arithmetic may be meant by it."""
    match = _RUN_TOGETHER.fullmatch(text)
    if match is None or not (match.group(2) == "*" or number_of(match.group(3)) is not None):
        return None
    return f"{apart(match.group(1)) or match.group(1)} {match.group(2)} {match.group(3)}"


def show(item: Condition | Operand) -> str:
    """Write an expression so that it reads back as the same."""
    if isinstance(item, Joined):
        return f" {item.word} ".join(_inner(part, Joined) for part in item.items)
    if isinstance(item, Not):
        return f"not {_inner(item.item, Joined)}"
    if isinstance(item, Comparison):
        right = item.right
        alone = isinstance(right, Field) and right.selector is None
        return f"{show(item.left)} {item.operator} {f'({show(right)})' if alone else show(right)}"
    if isinstance(item, Arithmetic):
        return f"{_inner(item.left, Arithmetic)} {item.sign} {_inner(item.right, Arithmetic)}"
    if isinstance(item, Field):
        name = item.name if _is_plain(item.name) else _quoted(item.name)
        return name if item.selector is None else f"@{item.selector}.{name}"
    return item.text if isinstance(item, Number) else _quoted(item.value)


def fields_of(item: Condition | Operand) -> Iterator[Field]:
    """Yield every field that an expression asks for, in order."""
    if isinstance(item, Field):
        yield item
    elif isinstance(item, Joined):
        for part in item.items:
            yield from fields_of(part)
    elif isinstance(item, Not):
        yield from fields_of(item.item)
    elif isinstance(item, (Comparison, Arithmetic)):
        yield from fields_of(item.left)
        yield from fields_of(item.right)


def is_of_none(item: Comparison) -> bool:
    """Say whether it asks which versions lack a value, or have one."""
    than = item.right
    return item.operator in ("=", "!=") and isinstance(than, Text) and than.value.lower() == NONE


def comparisons_of(item: Condition) -> Iterator[Comparison]:
    """Yield every comparison, in order."""
    if isinstance(item, Comparison):
        yield item
    else:
        for part in (item.item,) if isinstance(item, Not) else item.items:
            yield from comparisons_of(part)


def selectors_of(item: Condition | Operand) -> set[str]:
    """Return the other versions that an expression names, in lower case."""
    return {field.selector.lower() for field in fields_of(item) if field.selector}


def _inner(item: Condition | Operand, kind: type) -> str:
    return f"({show(item)})" if isinstance(item, kind) else show(item)


def _is_plain(name: str) -> bool:
    return (
        WORD.fullmatch(name) is not None
        and name.lower() not in KEYWORDS
        and name not in SIGNS
        and not UNUSUAL.intersection(name)
        and not name.startswith("@")
        and number_of(name) is None
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
