"""Times in an expression: dates that ``created`` and ``lineage.date`` are compared with, and ages.

What is no date is refused, never put in order as text: ``created < 30d`` would be
true of every version. An age becomes a date as soon as it is read.

Rules: ``docs/search.md``.
Public names: ``AGE``, ``CREATED``, ``GIVEN``, ``date_in``, ``moment_in``, ``meant``.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import Decimal

from mvc.errors import UsageError
from mvc.registry.duration import duration
from mvc.registry.sealed import timestamp
from mvc.registry.search.expression import (
    Arithmetic,
    Comparison,
    Field,
    Number,
    Operand,
    Text,
    fields_of,
)

CREATED = "created"
# Dates that people give, so that a record may have anything there.
GIVEN = ("lineage.date", "date")
AGE = "age"

_CLOCK = r"[0-9]{2}(:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?( ?(Z|UTC))?"
_DATE = re.compile(rf"[0-9]{{4}}(-[0-9]{{2}}(-[0-9]{{2}}([T ]{_CLOCK})?)?)?", re.IGNORECASE)
_ZONE = re.compile(r" ?(Z|UTC)\Z", re.IGNORECASE)
# What a date of which only the beginning is written is filled up with.
_REST = "0001-01-01T00:00:00.000000"
# A version that is older was made earlier.
_OF_AN_AGE = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DATES = (
    "write a date as 2026-11-20, in UTC; "
    "age < 30d is made in the last 30 days, age > 30d longer ago"
)
_AGES = f"as in {AGE} < 30d, made in the last 30 days; a metric of that name is metrics.{AGE}"


def meant(comparison: Comparison) -> Comparison:
    """Return a comparison with dates written as records have them, and without ages.

    Raises:
        UsageError: What ``created`` is compared with is no date, or ``age`` with no length of time.
    """
    left, right = comparison.left, comparison.right
    if left == Field(AGE):
        return _aged(comparison.operator, right)
    _check_bare(left)
    _check_bare(right)
    if not isinstance(left, Field) or left.name not in (CREATED, *GIVEN):
        return comparison
    if comparison.operator == "~" or isinstance(right, Field):
        return comparison
    text = _typed(right)
    date = date_in(text)
    if date is not None:
        return Comparison(left, comparison.operator, Text(date))
    other = isinstance(right, Number) or comparison.operator in ("=", "!=")
    if other and left.name in GIVEN:
        return comparison
    what = f"'{text}' is no date" if text else f"'{left.name}' is compared with a date"
    raise UsageError(what, hint=_DATES)


def date_in(text: str) -> str | None:
    """Return a date, or its beginning, as records have it; ``None`` where it is none."""
    if _DATE.fullmatch(text) is None:
        return None
    date = _ZONE.sub("", text).replace(" ", "T").upper()
    try:
        datetime.strptime(date + _REST[len(date) :], "%Y-%m-%dT%H:%M:%S.%f")
    except ValueError:  # such as the 30th of February
        return None
    return date


def moment_in(value: int | float | Decimal | str) -> str | None:
    """Return when a date that somebody gave begins; ``None`` where it is none."""
    date = date_in(str(value))
    return None if date is None else date + _REST[len(date) :]


def _aged(operator: str, right: Operand) -> Comparison:
    text = _typed(right)
    if operator not in _OF_AN_AGE:
        raise UsageError(f"an {AGE} is compared with < <= > or >=", hint=_AGES)
    if re.fullmatch("[0-9]+m", text):
        raise UsageError(
            f"'{text}' may be minutes or months", hint="write hours, days or weeks: 36h, 180d, 2w"
        )
    try:
        length = duration(text, AGE)
    except UsageError:
        what = (
            f"'{text}' is no length of time"
            if text
            else f"'{AGE}' is compared with a length of time"
        )
        raise UsageError(what, hint=_AGES) from None
    now = datetime.now(timezone.utc)
    since = now - min(length, now - _EPOCH)
    return Comparison(Field(CREATED), _OF_AN_AGE[operator], Text(date_in(timestamp(since)) or ""))


def _typed(right: Operand) -> str:
    """Return a word or text; nothing of a sum or a name."""
    if isinstance(right, Number):
        return right.text
    return right.value if isinstance(right, Text) else ""


def _check_bare(item: Operand) -> None:
    """Refuse ages, and sums of dates, which have no value."""
    for field in fields_of(item):
        if field.name == AGE:
            raise UsageError(f"'{AGE}' stands alone, and left", hint=_AGES)
        if field.name == CREATED and isinstance(item, Arithmetic):
            raise UsageError(f"nothing is added to '{CREATED}', nor taken from it", hint=_DATES)
