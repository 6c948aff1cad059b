"""Durations, as people write them: ``0``, ``30m``, ``12h``, ``3d``, ``2w``.

Public names: ``duration``, ``written``.
"""

from __future__ import annotations

import re
from datetime import timedelta

from mvc.errors import UsageError

UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds", "w": "weeks"}
# Longer than anything has been here, and short enough for the calendar.
LONGEST = timedelta(days=365_000)

_WRITTEN = re.compile(r"([0-9]{1,6})([dhmsw])?")


def duration(value: object, name: str) -> timedelta:
    """Return ``value`` as a length of time; a number alone does not say of what, but for 0.

    Args:
        value: A ``timedelta``, 0, or text such as ``"14d"``.
        name: What the caller calls it, for the error.

    Raises:
        UsageError: It is neither, or is negative.
    """
    if isinstance(value, str):
        return min(_read(value), LONGEST)
    if isinstance(value, timedelta) and value >= timedelta(0):
        return min(value, LONGEST)
    if type(value) is int and value == 0:
        return timedelta(0)
    raise UsageError(f"{name}={value!r} is no time", hint=f'{name}="14d", 0, or a timedelta')


def written(seconds: int) -> str:
    """Write a length of time in the largest unit that leaves no rest: ``30d``, ``36h``, ``0``."""
    sizes = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
    unit = next(unit for unit, size in sizes.items() if seconds % size == 0)
    return f"{seconds // sizes[unit]}{unit}" if seconds else "0"


def _read(text: str) -> timedelta:
    found = _WRITTEN.fullmatch(text)
    if found is None or (found.group(2) is None and found.group(1) != "0"):
        raise UsageError(f"'{text}' is no time", hint="write 0, 30s, 10m, 12h, 3d or 2w")
    return timedelta(**{UNITS[found.group(2) or "s"]: int(found.group(1))})
