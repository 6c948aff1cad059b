"""How commands that look print versions.

Public names: ``answer``, ``version_table``, ``called``, ``standing``, ``measure``,
``Parent``, ``parents_of``, ``look_up``, ``nothing_fits``, ``note_children``, ``made_from``,
``OF_MANY``, ``NO_VERSIONS``, ``MOST_NOTES``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mvc.cli import command, output, tables
from mvc.cli.tables import Column, Value
from mvc.errors import MvcError, NotFound, UsageError

if TYPE_CHECKING:
    from mvc.registry import ModelRegistry
    from mvc.registry.family import Family
    from mvc.registry.intake.unregistered import Described
    from mvc.registry.record import Record
    from mvc.registry.version import Version

# So many versions are told of that others were made from, and so many of those others named.
MOST_NOTES = 5
MOST_CHILDREN = 3
OF_MANY = {3: command.PARTLY, 4: "no such family or registry"}
NO_VERSIONS = "no versions; mvc log --withdrawn shows what is out of use"
NONE_WITHDRAWN = "no version is out of use"
NOTHING_FITS = "this is true of no version"


def answer(
    versions: list[Version],
    as_json: bool,
    quiet: bool,
    tell: Callable[[list[Version]], None],
    *,
    nothing: str = NO_VERSIONS,
) -> None:
    """Print versions as ``tell`` shows them, as JSON or as ids; a note where there are none."""
    if as_json:
        output.json_result([version.as_dict() for version in versions])
    elif quiet:
        output.ids(versions)
    elif not versions:
        output.note(nothing)
    else:
        tell(versions)


def version_table(found: Sequence[Version], column: str = "version") -> None:
    """Print versions, a line each; ``column`` is what people call each: ``version`` or ``id``.

    People see the names of files where these tell versions apart.
    """
    named: Column[Version] = Column(
        column.upper(), lambda version: getattr(version, column), style="yellow"
    )
    differ = len({version.artifact.name for version in found}) > 1
    people = [column for column in PEOPLE if differ or column is not FILE]
    tables.show(found, (named, *people), PROGRAMS)


def called(version: Version) -> str:
    """Return in brackets how a version stands, in colour on a terminal; nothing if it does not."""
    told = output.clean(standing(version))
    return "  " + output.styled(f"({told})", "cyan") if told else ""


def standing(version: Version) -> str:
    """Write what else a version is called, and whether it can be had."""
    missing = [] if version.present or version.released else ["bytes missing"]
    return ", ".join(filter(None, [output.names_of(version), *missing]))


def measure(version: Version | Described) -> str:
    """Write how much a version holds: ``3 files, 1.2 GB``."""
    artifact = version.artifact
    files = f"{output.count(artifact.files, 'file')}, " if artifact.files is not None else ""
    return files + output.size(artifact.size)


@dataclass(frozen=True, slots=True)
class Parent:
    """What a version says that it was made from: an id, and the digest of that record."""

    id: str
    record: str | None


def parents_of(version: Version) -> list[Parent]:
    """Return what a version was made from; what no mvc wrote is passed over."""
    given = version.lineage.get("parents")
    found = []
    for parent in given if isinstance(given, (list, tuple)) else ():
        identity = parent.get("id") if isinstance(parent, dict) else None
        if isinstance(identity, str):
            record = parent.get("record")
            found.append(Parent(identity, record if isinstance(record, str) else None))
    return found


def look_up(registry: ModelRegistry, parent: Parent) -> tuple[Record | None, str]:
    """Return the record of a parent, and what is wrong with it: nothing, or why it is not had."""
    name, _, number = parent.id.rpartition("/v")
    try:
        family = registry.family(name)
        record, digest = registry.manifest.record(name, int(number))
    except (NotFound, UsageError, ValueError):
        return None, "not here"
    except MvcError:
        return None, "cannot be read"
    if parent.record not in (None, str(digest)):
        return None, "not here: another version has its number"
    return record, _out_of_use(registry, family, int(number))


def _out_of_use(registry: ModelRegistry, family: Family, number: int) -> str:
    """Return ``withdrawn`` or ``released``; nothing of a version in use."""
    from mvc.registry import reach

    if number not in family.withdrawn:
        return ""
    try:
        return "released" if number in reach.released(registry.manifest, family) else "withdrawn"
    except MvcError:  # an event cannot be read
        return "withdrawn"


def nothing_fits(registry: ModelRegistry, names: Iterable[str] | None) -> str:
    """Say that an expression is true of no version, and how many were not asked."""
    known = registry.families() if names is None else [registry.family(name) for name in names]
    hidden = sum(len(family.withdrawn) for family in known)
    if not hidden:
        return NOTHING_FITS
    where = f" {known[0].name}" if len(known) == 1 else ""
    were = f"{output.count(hidden, 'withdrawn version')} {'was' if hidden == 1 else 'were'}"
    return f"{NOTHING_FITS}; {were} not looked at: mvc log{where} --withdrawn"


def note_children(registry: ModelRegistry, ids: Iterable[str]) -> None:
    """Say which versions of other families were made from these, if that can be told."""
    from mvc.registry import descent

    numbers: dict[str, list[int]] = {}
    for name, _, text in (identity.rpartition("/v") for identity in ids):
        numbers.setdefault(name, []).append(int(text))
    told = []
    with contextlib.suppress(MvcError):
        for name, of_it in numbers.items():
            folder = registry.family(name).folder
            for parent, children in descent.children(registry.manifest, folder, of_it).items():
                told.append(f"{made_from(children)} made from {name}/v{parent}")
    for text in told[:MOST_NOTES]:
        output.note(text)
    if more := len(told[MOST_NOTES:]):
        output.note(f"and so on for {output.count(more, 'more version')}")


def made_from(children: Sequence[str]) -> str:
    """Write the first of some versions, as in ``lora/v1 and 2 more were``."""
    return f"{output.first(children, MOST_CHILDREN)} {'was' if len(children) == 1 else 'were'}"


def _title(version: Version) -> str:
    return (version.message or "").partition("\n")[0]


FILE: Column[Version] = Column("FILE", lambda version: version.artifact.name, spare=True)
PEOPLE: tuple[Column[Version], ...] = (
    Column("AGE", lambda version: output.age(version.created), right=True),
    Column("SIZE", lambda version: output.size(version.artifact.size), right=True, rank=3),
    Column(
        "METRICS",
        lambda version: output.pairs(version.metrics, output.brief),
        style="green",
        elastic=20,
        cut=tables.what_fits(" "),
        rank=1,
    ),
    Column("NAMES", standing, style="cyan", elastic=18, cut=tables.what_fits(", "), rank=2),
    FILE,
    Column("MESSAGE", _title, elastic=10, rank=4),
)
PROGRAMS: dict[str, Callable[[Version], Value]] = {
    "id": lambda version: version.id,
    "created": lambda version: version.created,
    "size": lambda version: version.artifact.size,
    "metrics": lambda version: output.pairs(version.metrics),
    "names": lambda version: version.names,
    "present": lambda version: version.present,
    "author": lambda version: version.author,
    "message": lambda version: version.message,
    "file": lambda version: version.artifact.name,
}
