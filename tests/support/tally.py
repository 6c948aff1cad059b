"""Figures: what the fault suites did, counted as they do it and shown when they end.

A suite calls ``count("kill points", of="mvc add")`` for each one; the table
that ends a test run (``tests/conftest.py``) is where every figure about them
in the documentation comes from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

_counts: Counter[tuple[str, str]] = Counter()


def count(what: str, number: int = 1, *, of: str = "") -> None:
    """Note ``number`` more of ``what``, a plural noun; ``of`` says what they were done to."""
    _counts[what, of] += number


def table() -> Iterator[str]:
    """Yield the lines of the table: each noun with its sum, below it its parts."""
    for what in sorted({what for what, _ in _counts}):
        parts = {of: number for (noun, of), number in sorted(_counts.items()) if noun == what}
        yield f"{what:<50}{sum(parts.values()):>12,}"
        yield from (f"  {of:<48}{number:>12,}" for of, number in parts.items() if of)
