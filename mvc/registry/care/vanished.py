"""Vanished: records that only their roots in the store have, and the numbers they had.

A root does not hold a number. Which it was is told by the versions that are
here, by events, by the note of what was added last, and by the order in which
records were made. In a git work tree nothing is certain: what is not here may
be another branch's.

Why so: ``docs/decisions/0048-records-that-vanished.md``.
Public names: ``Vanished``, ``vanished``, ``highest_given``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from mvc import environment, fileio, lines
from mvc.digest import Digest
from mvc.errors import MvcError, StoreWarning, warn
from mvc.registry import record as records
from mvc.registry.event import Standing, Tagged
from mvc.registry.location import newest
from mvc.registry.location.place import Place
from mvc.registry.manifest import Manifest
from mvc.registry.names import folder_of
from mvc.registry.record import Record
from mvc.store import Store
from mvc.store.roots import names_of
from mvc.store.settings import ROOTS, STAGING


@dataclass(frozen=True, slots=True)
class Vanished:
    """A root without a version: its record, and the number that it had or is to have.

    ``sure`` says whether it had that number, ``lost`` whether it was a version here.
    """

    root: Path
    record: Record
    number: int
    sure: bool
    lost: bool

    @property
    def id(self) -> str:
        return f"{self.record.family}/v{self.number}"


def vanished(
    place: Place, manifest: Manifest, store: Store, names: Iterable[str]
) -> list[Vanished]:
    """Return those of this registry's roots called ``names`` that are whole, by family and number.

    A family of which nothing is left was one if two roots, or events, say so:
    an add that was cut off leaves one root. Those under way do not count.
    """
    folder = store.folder / ROOTS / place.id
    kept: defaultdict[str, dict[Path, Record]] = defaultdict(dict)
    for name in names:
        with suppress(OSError, MvcError):
            record = records.decode(fileio.read(folder / name, lines.MAX_SIZE))
            kept[folder_of(record.family)][folder / name] = record
    for family in [name for name in kept if manifest.refusal(name)]:
        del kept[family]  # nobody can tell what vanished of it
    in_git = environment.in_git(manifest.folder)
    found: list[Vanished] = []
    for family, roots in sorted(kept.items()):
        # An add makes the version first: then its folder in staging goes, it is tagged and noted.
        # So versions are looked at last, and whatever came meanwhile is among them.
        ended = {p for p, r in roots.items() if not (store.folder / STAGING / r.id).exists()}
        noted = dict(_noted(place, manifest, family))
        events = manifest.event_numbers(family)
        numbers = manifest.numbers(family)
        here = dict(_readable(manifest, family, numbers))
        for _, digest in here.values():  # a root may outlive the version's release for a while
            roots.pop(folder / f"{digest.hex()}.yaml", None)
        sure = {} if in_git else _certain(here, noted, roots)
        gone = not in_git and not numbers and (len(ended & roots.keys()) > 1 or bool(events))
        free = (n for n in count(1) if n not in {*numbers, *sure.values()})
        numbered = (
            Vanished(path, record, sure.get(path) or next(free), path in sure, path in sure or gone)
            for path, record in sorted(roots.items(), key=lambda item: item[1].created)
            if path in sure or path in ended
        )
        found += sorted(numbered, key=lambda each: each.number)
    return found


def highest_given(place: Place, manifest: Manifest, store: Store, name: str, here: int) -> int:
    """Return a family's highest number, also if its records vanished; then warn.

    Args:
        here: The highest number of a version that is here, or 0.
    """
    if environment.in_git(manifest.folder):  # there a number is one branch's
        return here
    last = newest.number_in(place, name)
    given = here
    if last and last[1] > here and not manifest.record_path(name, last[1]).exists():
        given = last[1]
    if not here:
        found = vanished(place, manifest, store, names_of(store.folder, place.id))
        lost = (f.number for f in found if f.lost and folder_of(f.record.family) == folder_of(name))
        given = max(given, *lost, 0)
    if given > here:
        warn(
            f"'{name}' had a version v{given}, whose record is not here any more: the new one is "
            f"v{given + 1}; mvc fsck says how to bring records back",
            StoreWarning,
        )
    return given


def _certain(
    here: Mapping[int, tuple[Record, Digest]],
    noted: Mapping[str, int],
    roots: Mapping[Path, Record],
) -> dict[Path, int]:
    """Return the numbers that roots had: those noted, and those between that leave no choice."""
    known = {path: n for path in roots if (n := noted.get(path.stem)) and n not in here}
    points = [(record.created, n, Path()) for n, (record, _) in here.items()]
    points += [(record.created, known.get(path, 0), path) for path, record in roots.items()]
    last, between = 0, list[Path]()
    for _, number, path in sorted(points):
        if not number:
            between.append(path)
            continue
        numbers = range(last + 1, number)
        taken = {*here, *known.values()}.intersection(numbers)  # those made out of turn
        if len(numbers) == len(between) and not taken:
            known.update(zip(between, numbers, strict=True))
        last = number
        between.clear()
    return known


def _readable(
    manifest: Manifest, family: str, numbers: Iterable[int]
) -> Iterator[tuple[int, tuple[Record, Digest]]]:
    for number in numbers:
        with suppress(MvcError):
            yield number, manifest.record(family, number)


def _noted(place: Place, manifest: Manifest, family: str) -> Iterator[tuple[str, int]]:
    """Yield digests of records, as their roots are named, with the numbers noted elsewhere."""
    for number in manifest.event_numbers(family):
        with suppress(MvcError):
            change = manifest.event(family, number).change
            if isinstance(change, (Tagged, Standing)) and change.record and change.version:
                yield change.record.hex(), change.version
    if last := newest.number_in(place, family):
        yield last
