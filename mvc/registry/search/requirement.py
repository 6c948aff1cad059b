"""Requirements: an expression that must be true of a version, or nothing is done.

It is looked at as often as asked, each time on a current view: first before
anything is read, last when the name is decided. A comparison with a version
that never was, such as the best of a new family, is not required; with one that
was and is gone nothing is as required.

Rules: ``docs/search.md``.
Public names: ``Requirement``, ``of_version``, ``of_new``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mvc.errors import MvcWarning, NotFound, Refused, UsageError, warn
from mvc.registry import family as families
from mvc.registry import tags
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.names import near
from mvc.registry.record import Record, finite
from mvc.registry.search.expression import (
    Comparison,
    Condition,
    Field,
    Joined,
    Not,
    Number,
    Operand,
    Text,
    apart,
    comparisons_of,
    fields_of,
    selectors_of,
    show,
)
from mvc.registry.search.facts import (
    STANDING,
    Facts,
    Values,
    facts_of,
    full_names,
    laid_out,
    standing,
)
from mvc.registry.search.matching import Table, matching, operand
from mvc.registry.search.parser import SPACED, parse
from mvc.registry.search.search import references

# Stands for the number of a version that has none yet.
NEW = 0
_VERSION = re.compile("[vV][1-9][0-9]*")


@dataclass(frozen=True)
class Requirement:
    """An expression about one version of a family, with the version's facts."""

    manifest: Manifest
    name: str
    number: int
    facts: Facts
    condition: Condition
    tags: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise unless it is true as things stand now.

        Raises:
            Refused: It is not; the message gives both sides of what fails.
            UsageError: It names a version or a value as if mistyped.
        Warns:
            MvcWarning: There is no version yet to compare with.
        """
        selectors = selectors_of(self.condition)
        family = self._family()
        table = self._table(family, selectors)
        missing = selectors - table.references.keys()
        for selector in sorted(missing):
            if family and (lost := _gone(self.manifest, family, selector)):
                raise self._refused(*lost)
        self._check_names(family, missing)
        self._check_signs(table)
        for selector in sorted(missing):
            text = f"'{self.name}' has no @{selector} yet; what is compared with it is not required"
            warn(text, MvcWarning)
        condition = _without(self.condition, missing)
        if condition is None or matching(condition, table, [self.number]):
            return
        told = "; ".join(
            _told(part, table, self.number) for part in self._failing(condition, table)
        )
        out = family.withdrawn if family else ()
        others = [
            f"@{name} is {self.name}/v{n}{' (withdrawn)' if n in out else ''}"
            for name, n in sorted(table.references.items())
        ]
        raise self._refused(told, ", ".join(others))

    def _refused(self, why: str, hint: str) -> Refused:
        outcome = "nothing was stored" if self.number == NEW else "the tag was not moved"
        called = self.name if self.number == NEW else f"{self.name}/v{self.number}"
        hint = f"{hint}, {outcome}" if hint else outcome
        return Refused(f"'{called}' is not as required: {why}", hint=hint)

    def _family(self) -> Family | None:
        try:
            return families.load(self.manifest, self.name)
        except NotFound:  # it is to be the first
            return None

    def _check_names(self, family: Family | None, missing: Collection[str]) -> None:
        """Refuse what was likely meant to name another version, and would let anything pass."""
        known = ["best", "latest", *(family.tags if family else ())]
        for selector in sorted({*missing}.difference(tag.lower() for tag in self.tags)):
            others = (name for name in known if _letters(name) != _letters(selector))
            if _letters(selector) != "v" and (hint := near(selector, others, "@", alike=0.8)):
                raise UsageError(f"'{self.name}' has no @{selector}", hint=hint)
        for text in self._bare(self.condition):
            selector, _, name = text.partition(".")
            if name and (selector.lower() in map(str.lower, known) or _VERSION.fullmatch(selector)):
                hint = f"what another version has is written with @: @{text}"
                raise UsageError(f"'{text}' is no value of '{self.name}'", hint=hint)

    def _check_signs(self, table: Table) -> None:
        """Refuse a name that nothing is called, if it may be a sum without its spaces."""

        def known(name: str) -> bool:
            return any(map(table.column, full_names(name)))

        for field in fields_of(self.condition):
            meant = apart(field.name)
            if meant and known(meant.partition(" ")[0]) and not known(field.name):
                typed = show(field)
                raise UsageError(
                    f"'{typed}' is no value of '{self.name}'",
                    hint=SPACED + typed.replace(field.name, meant),
                )

    def _bare(self, condition: Condition) -> Iterator[str]:
        """Yield what stands where a value of another version could, without its @."""
        for comparison in comparisons_of(condition):
            left, right = comparison.left, comparison.right
            if isinstance(right, Text) and isinstance(left, Field):
                same = right.value.partition(".")[2] == left.name
                if same or comparison.operator[0] in "<>":
                    yield right.value
            for field in fields_of(comparison):
                if field.selector is None and not self.facts.keys() & {*full_names(field.name)}:
                    yield field.name

    def _table(self, family: Family | None, selectors: Collection[str]) -> Table:
        rows = {self.number: self.facts}
        if family is None:
            return Table(lambda name: {NEW: self.facts[name]} if name in self.facts else {})
        numbers = references(self.manifest, family, selectors)
        for number in {*numbers.values()} - {self.number}:
            rows[number] = facts_of(self.manifest.record(family.folder, number)[0])

        def column(name: str) -> Mapping[int, Values]:
            if name in STANDING:
                return standing(family, name, rows)
            return {number: facts[name] for number, facts in rows.items() if name in facts}

        return Table(column, numbers)

    def _failing(self, condition: Condition, table: Table) -> Iterator[Comparison | Not]:
        if not isinstance(condition, Joined):
            yield condition
            return
        for item in condition.items:
            if not matching(item, table, [self.number]):
                yield from self._failing(item, table)


def of_version(
    manifest: Manifest, name: str, number: int, text: str | Sequence[str], tag: str = ""
) -> Requirement:
    """Return what is required of a version that is there, before it bears ``tag``."""
    facts = facts_of(manifest.record(name, number)[0])
    return Requirement(manifest, name, number, facts, parse(text), (tag,))


def of_new(
    manifest: Manifest,
    name: str,
    said: Mapping[str, Any],
    source: Record | None,
    text: str | Sequence[str],
    tags: Sequence[str] = (),
) -> Requirement:
    """Return what is required of a version that is to be made.

    Args:
        said: What is given, by the names of a record's fields.
        source: The record whose file it has; ``None`` where that is yet to be read.
        tags: What it is to bear, and nothing may have borne before.

    Raises:
        UsageError: It asks for what nobody knows yet.
    """
    condition = parse(text)
    facts = {"family": (name,), **laid_out(said)}
    if source is not None:
        known = facts_of(source)
        facts |= {name: known[name] for name in known if _is_of_the_file(name)}
    for field in fields_of(condition):
        (full, *_) = full_names(field.name)
        if field.selector is not None or full in facts:
            continue
        if full in STANDING or full == "created":
            raise _unknown(field, "once the version is there")
        if source is None and (_is_of_the_file(full) or full == "model.framework"):
            raise _unknown(field, "once the file is read")
    return Requirement(manifest, name, NEW, facts, condition, tuple(tags))


def _gone(manifest: Manifest, family: Family, selector: str) -> tuple[str, str] | None:
    """Say what became of a version that could once be named so, and what to type."""
    name = family.name
    if _VERSION.fullmatch(selector):
        lost = int(selector[1:]) <= family.highest
        return (f"{name}/{selector} is not here", f"mvc log {name} lists what is") if lost else None
    if selector in ("best", "latest"):
        lost = any(_could_be(manifest, family, number, selector) for number in family.withdrawn)
        back = f"mvc log {name} --withdrawn lists them, mvc restore takes one back"
        return (f"every version that could be @{selector} is withdrawn", back) if lost else None
    moves = tags.moves_of(manifest, family.folder, selector)
    moves = [(event, move) for event, move in moves if event.number <= family.events]
    if not moves:
        return None
    event, move = moves[-1]
    again = f"mvc tag {name}@v{family.latest or family.highest} {move.tag} sets it again"
    return f"@{move.tag} was deleted on {event.created[:10]} by {event.author}", again


def _could_be(manifest: Manifest, family: Family, number: int, selector: str) -> bool:
    metrics = manifest.record(family.folder, number)[0].metrics
    by_rule = family.rule and finite(metrics.get(family.rule.metric)) is not None
    return selector == "latest" or bool(by_rule)


def _letters(selector: str) -> str:
    """Return a name without its digits: ``stage1`` is not ``stage2`` mistyped."""
    return re.sub("[0-9]+", "", selector.lower())


def _is_of_the_file(name: str) -> bool:
    return name == "weights" or name.startswith("artifact.")


def _unknown(field: Field, when: str) -> UsageError:
    return UsageError(
        f"'{field.name}' is known only {when}",
        hint="require something of metrics, parameters, lineage, labels or model as given",
    )


def _without(condition: Condition, missing: Collection[str]) -> Condition | None:
    """Return what is left of a condition without comparisons with what is missing."""
    if isinstance(condition, Comparison):
        return None if selectors_of(condition).intersection(missing) else condition
    if isinstance(condition, Not):
        inner = _without(condition.item, missing)
        return None if inner is None else Not(inner)
    items = [item for part in condition.items if (item := _without(part, missing)) is not None]
    if len(items) < 2:
        return items[0] if items else None
    return Joined(condition.word, tuple(items))


def _told(part: Comparison | Not, table: Table, row: int) -> str:
    sides: dict[str, None] = {}
    for comparison in comparisons_of(part):
        for side in (comparison.left, comparison.right):
            if not isinstance(side, (Number, Text)):
                sides[_value(side, operand(side, table, [row]).get(row, ()))] = None
    return f"{show(part)}, but {' and '.join(sides)}"


def _value(side: Operand, values: Values) -> str:
    return (
        f"{show(side)} is {', '.join(map(str, values))}" if values else f"no {show(side)} is known"
    )
