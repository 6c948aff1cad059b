"""Matching: of which versions an expression is true.

Versions of one family are the rows of a table, facts its columns.

Rules: ``docs/search.md``.
Public names: ``Table``, ``matching``, ``values_of``.
"""

from __future__ import annotations

import fnmatch
import glob
import operator as operators
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext
from typing import Any, TypeAlias

from mvc.registry.search.expression import (
    Arithmetic,
    Comparison,
    Condition,
    Field,
    Joined,
    Not,
    Number,
    Operand,
    Text,
    is_of_none,
    number_of,
)
from mvc.registry.search.facts import Values, full_names
from mvc.registry.search.times import CREATED, GIVEN, date_in, moment_in

# Where a version may be written as it is elsewhere, or any of a family.
PARENT = "parent"

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operators.eq,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}
_SIGNS: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": operators.add,
    "-": operators.sub,
    "*": operators.mul,
    "/": operators.truediv,
}
PRECISION = 40
Test: TypeAlias = "Callable[[Any], bool]"
# What of a value is compared with a date.
_MOMENT: dict[str, Callable[[Any], str | None]] = {
    CREATED: str,
    **dict.fromkeys(GIVEN, moment_in),
}


@dataclass(frozen=True)
class Table:
    """Versions of a family: ``column`` gives a fact of each that has it.

    ``references`` says which version a selector, as in ``@best.acc``, means;
    where it means none, nothing compares with its values.
    """

    column: Callable[[str], Mapping[int, Values]]
    references: Mapping[str, int | None] = field(default_factory=dict)


def matching(condition: Condition, table: Table, rows: Collection[int]) -> set[int]:
    """Return those of ``rows`` of which a condition is true."""
    if isinstance(condition, Not):
        return set(rows) - matching(condition.item, table, rows)
    if isinstance(condition, Joined):
        if condition.word == "or":
            return set().union(*(matching(item, table, rows) for item in condition.items))
        left: Collection[int] = rows
        for item in condition.items:
            left = matching(item, table, left)
        return set(left)
    found = _compared(condition, table, rows)
    return set(rows) - found if condition.operator == "!=" else found


def values_of(wanted: Field, table: Table, rows: Iterable[int]) -> dict[int, Values]:
    """Return the values a field has in ``rows``; a row without is left out."""
    found: dict[int, Values] = {}
    if wanted.selector is not None:
        number = table.references.get(wanted.selector.lower())
        if number is None:
            return {}
        values = values_of(Field(wanted.name), table, [number]).get(number)
        return {} if values is None else dict.fromkeys(rows, values)
    for name in full_names(wanted.name):
        column = table.column(name)
        for row in rows:
            if row not in found and row in column:
                found[row] = column[row]
    return found


def operand(item: Operand, table: Table, rows: Collection[int]) -> dict[int, Values]:
    """Return the values of one side of a comparison in ``rows``."""
    if isinstance(item, Field):
        return values_of(item, table, rows)
    if isinstance(item, Arithmetic):
        left, right = operand(item.left, table, rows), operand(item.right, table, rows)
        both = ((row, _calculated(left[row], item.sign, right.get(row, ()))) for row in left)
        return {row: (number,) for row, number in both if number is not None}
    value = number_of(item.text) if isinstance(item, Number) else item.value
    return {} if value is None else dict.fromkeys(rows, (value,))


def _compared(item: Comparison, table: Table, rows: Collection[int]) -> set[int]:
    left = operand(item.left, table, rows)
    sign = "=" if item.operator == "!=" else item.operator
    moment = _MOMENT.get(item.left.name) if isinstance(item.left, Field) else None
    if isinstance(item.right, (Number, Text)):
        than = item.right
        lacking = set(rows).difference(left) if is_of_none(item) else set()
        if item.left == Field(PARENT) and isinstance(than, Text) and sign == "=":
            sign, than = "~", Text(_parents_meant(than.value))
        test = _test(sign, than, moment)
        return lacking.union(row for row, values in left.items() if any(map(test, values)))
    right = operand(item.right, table, rows)
    test_of: dict[Any, Test] = {}
    found = set()
    for row, values in left.items():
        for other in right.get(row, ()):
            if other not in test_of:
                test_of[other] = _test(sign, other, moment)
            if any(map(test_of[other], values)):
                found.add(row)
    return found


def _parents_meant(text: str) -> str:
    """Return the pattern of what a parent may be given as: an id, family@vN, or a family."""
    family, at, version = text.partition("@")
    if not at and "/" not in family:
        return f"{glob.escape(family)}/v*"
    return glob.escape(f"{family}/{version}" if at else family)


def _test(sign: str, than: Number | Text | Any, moment: Callable[[Any], str | None] | None) -> Test:
    """Return a test of one value: numbers go beside numbers, text beside text."""
    text = than.text if isinstance(than, Number) else than.value if isinstance(than, Text) else than
    if sign == "~":
        like = re.compile(fnmatch.translate(str(text).lower()), re.DOTALL)
        return lambda value: like.match(str(value).lower()) is not None
    compare = _ORDER[sign]
    if moment is not None and not isinstance(than, Number):
        date = date_in(str(text))
        if date is not None:  # as far as it is written
            return lambda value: (
                (then := moment(value)) is not None and compare(then[: len(date)], date)
            )
        if sign != "=" and isinstance(text, str):  # what is no date has no order
            return lambda value: False
    written = text.lower() if isinstance(text, str) else None
    number = number_of(than.text) if isinstance(than, Number) else than
    if isinstance(number, (str, Text)):
        return lambda value: isinstance(value, str) and compare(value.lower(), written)
    same = sign == "="

    def test(value: Any) -> bool:
        if isinstance(value, str):
            return same and value.lower() == written
        if isinstance(value, Decimal) or isinstance(number, Decimal):
            return compare(_exact(value), _exact(number))
        return compare(value, number)

    return test


def _calculated(left: Values, sign: str, right: Values) -> Decimal | None:
    numbers = [next((v for v in side if not isinstance(v, str)), None) for side in (left, right)]
    if None in numbers:
        return None
    try:
        with localcontext(Context(prec=PRECISION)):
            return _SIGNS[sign](*map(_exact, numbers))
    except ArithmeticError:  # divided by zero, or beyond all bounds
        return None


def _exact(value: Any) -> Decimal:
    """Return a number as it is written, so that 0.95 - 0.005 is 0.945."""
    return value if isinstance(value, Decimal) else Decimal(repr(value))
