"""Search: the versions that an expression is true of, in the order asked for.

Public names: ``search``, ``families_with``, ``references``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mvc.errors import MvcWarning, UsageError, warn
from mvc.registry import family as families
from mvc.registry import resolve
from mvc.registry.family import Family
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.names import folder_of, near
from mvc.registry.search import columns
from mvc.registry.search.columns import Columns
from mvc.registry.search.expression import (
    Field,
    apart,
    comparisons_of,
    fields_of,
    is_of_none,
    selectors_of,
)
from mvc.registry.search.facts import BARE, STANDING, Values, full_names, standing
from mvc.registry.search.matching import Table, matching, values_of
from mvc.registry.search.parser import SPACED, parse
from mvc.registry.search.times import AGE, CREATED
from mvc.registry.version import Version


def search(
    manifest: Manifest,
    presence: Presence,
    text: str | Sequence[str],
    *,
    names: Sequence[str] | None,
    sort: str | None,
    limit: int | None,
) -> list[Version]:
    """Return versions as ``ModelRegistry.search`` says."""
    key, falling = (None, False) if sort is None else _sort_key(sort)
    found: list[tuple[Any, ...]] = []
    known = _loaded(manifest, names)
    with columns.opened(manifest, known) as facts:
        for family, rows in _found_in(manifest, facts, text, known):
            table = _table(manifest, facts, family)
            created = values_of(Field("created"), table, rows)
            keys = created if key is None else values_of(key, table, rows)
            for row in rows & created.keys():
                found.append((created[row], family.folder, row, family, keys.get(row, (None,))[0]))
        if key is not None and all(item[4] is None for item in found):
            _warn_of_unknown([key], facts)
    found.sort(key=lambda item: item[:3], reverse=True)
    if key is not None:
        lacking = [item for item in found if item[4] is None]
        found = [item for item in found if item[4] is not None]
        found.sort(key=lambda i: (isinstance(i[4], str), i[4]), reverse=falling)
        found += lacking
    chosen = ((family, number, False) for _, _, number, family, _ in found[:limit])
    return resolve.versions_of(manifest, presence, chosen)


def families_with(manifest: Manifest, text: str | Sequence[str]) -> list[Family]:
    """Return the families that have a version of which an expression is true, or all of several."""
    known = _loaded(manifest, None)
    with columns.opened(manifest, known) as facts:
        return [family for family, _ in _found_in(manifest, facts, text, known)]


def _loaded(manifest: Manifest, names: Sequence[str] | None) -> list[Family]:
    if names is None:
        return list(families.readable(manifest))
    chosen = {folder_of(name): name for name in names}.values()
    return [families.load(manifest, name) for name in chosen]


def _found_in(
    manifest: Manifest, facts: Columns, text: str | Sequence[str], known: Iterable[Family]
) -> list[tuple[Family, set[int]]]:
    """Return the families that have versions of which an expression is true, and these.

    Warns:
        MvcWarning: No version has a value asked for, and nothing, or all that lack it, is found.
    """
    texts = (text,) if isinstance(text, str) else text
    condition = parse([one for one in texts if one.strip()])
    found = []
    for family in known:
        live = set(family.live(manifest))
        table = _table(manifest, facts, family, selectors_of(condition))
        live = matching(condition, table, live)
        if live:
            found.append((family, live))
    asked = [condition] if not found else filter(is_of_none, comparisons_of(condition))
    _warn_of_unknown([field for part in asked for field in fields_of(part)], facts)
    return found


def references(manifest: Manifest, family: Family, selectors: Collection[str]) -> dict[str, int]:
    """Return the versions that ``best``, ``latest``, ``v3`` and tags, in lower case, mean.

    A version that is named by its number or by a tag may be withdrawn: its record is there.
    """
    found = {}
    for selector in selectors:
        number = family.tagged(selector)
        if selector == "latest":
            number = family.latest
        elif selector == "best":
            number = family.best and family.best[0]
        elif selector[:1] == "v" and selector[1:].isdecimal():
            number = int(selector[1:])
            number = number if number in family.numbers(manifest) else None
        if number is not None:
            found[selector] = number
    return found


def _table(
    manifest: Manifest, facts: Columns, family: Family, selectors: Collection[str] = ()
) -> Table:
    def column(name: str) -> Mapping[int, Values]:
        if name in STANDING:
            return standing(family, name, family.numbers(manifest))
        return facts.column(family, name)

    return Table(column, references(manifest, family, selectors))


def _sort_key(sort: str) -> tuple[Field, bool]:
    """Return the value to sort by, and whether the highest comes first."""
    falling, name = sort.startswith("-"), sort.removeprefix("-").strip().strip("\"'")
    if not name:
        raise UsageError(
            f"'{sort}' is nothing to sort by", hint="as in --sort -acc, or --sort size"
        )
    if name == AGE:
        return Field(CREATED), not falling
    return Field(name), falling


def _warn_of_unknown(fields: Sequence[Field], facts: Columns) -> None:
    if not fields:
        return
    known = facts.names()
    short = {name.partition(".")[2] or name for name in known} | {*BARE, AGE}
    for field in fields:
        if field.name in BARE or any(name in known for name in full_names(field.name)):
            continue
        meant, hint = apart(field.name), near(field.name, short | set(known))
        if meant and meant.partition(" ")[0] in short:
            hint = SPACED + meant
        text = f"no version has a value '{field.name}'" + (f"; {hint}" if hint else "")
        warn(text, MvcWarning)
