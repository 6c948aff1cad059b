"""What loading a file would run, as a label: for information, never a guarantee.

How it is found: ``mvc.formats.safety``; what it promises and what not:
``docs/safety.md``.
Public names: ``Verdict``, ``Safety``, ``worst``, ``shortened``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mvc.errors import FormatError
from mvc.lines import Value

MAX_LISTED = 64
MAX_NAME = 100
SAID = 6  # how many names are put into words


class Verdict(str, Enum):
    """What a file would use when it is loaded, from the least to the most."""

    TENSORS = "tensors"
    NUMPY = "numpy"
    OTHER = "other"
    UNPARSEABLE = "unparseable"


_WORDS = {
    Verdict.TENSORS: "tensors only",
    Verdict.NUMPY: "tensors and numpy arrays only",
    Verdict.OTHER: "may run code",
    Verdict.UNPARSEABLE: "may run code that mvc cannot read",
}
_ORDER = list(Verdict)


@dataclass(frozen=True, slots=True)
class Safety:
    """A verdict, and the names of what is neither tensors nor numpy, sorted.

    ``more`` counts the names that are left out of ``globals``.
    """

    verdict: Verdict
    globals: tuple[str, ...] = ()
    more: int = 0

    @property
    def may_run_code(self) -> bool:
        return self.verdict in (Verdict.OTHER, Verdict.UNPARSEABLE)

    def __str__(self) -> str:
        words = _WORDS[self.verdict]
        if self.globals:
            words += f": {', '.join(self.globals[:SAID])}"
        left_out = len(self.globals[SAID:]) + self.more
        return f"{words} and {left_out:,} more" if left_out else words

    def as_values(self) -> dict[str, Value]:
        values: dict[str, Value] = {"verdict": self.verdict.value, "globals": list(self.globals)}
        return {**values, "more": self.more} if self.more else values

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Safety:
        """Read what ``as_values`` wrote.

        Raises:
            FormatError: It is not that.
        """
        names, more = values.get("globals"), values.get("more", 0)
        if not isinstance(names, list) or not all(type(name) is str for name in names):
            raise FormatError("the label of what loading runs has no list of names")
        if values.get("verdict") not in list(Verdict) or type(more) is not int or more < 0:
            raise FormatError(f"a label of what loading runs that is {dict(values)!r:.80}")
        return cls(Verdict(values["verdict"]), tuple(names), more)


def worst(labels: Iterable[Safety | None]) -> Safety | None:
    """Return the label of several files together; ``None`` where none has one."""
    found = [label for label in labels if label is not None]
    if not found:
        return None
    names = sorted({name for label in found for name in label.globals})
    verdict = max((label.verdict for label in found), key=_ORDER.index)
    return Safety(verdict, tuple(names), sum(label.more for label in found))


def shortened(label: Safety | None) -> Safety | None:
    """Return a label as a record has room for it, and a line of text for its names."""
    if label is None:
        return None
    names = tuple(_shortened(name) for name in label.globals[:MAX_LISTED])
    return Safety(label.verdict, names, label.more + len(label.globals[MAX_LISTED:]))


def _shortened(name: str) -> str:
    if not name.isprintable():
        name = name.encode("unicode_escape").decode("ascii")
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
