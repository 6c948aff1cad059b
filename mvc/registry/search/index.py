"""The query index: the facts of records once more, in a cache that may be lost at any time.

It is brought up to date before each answer by what is new. Whatever is wrong
with it, the answer comes from the records instead.

What it promises, and when a stamp is believed: ``docs/query-index.md``.
Public names: ``Index``.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mvc import fileio
from mvc.errors import MvcError, UnreadWarning, warn
from mvc.registry.family import SETTLED_NS, Family
from mvc.registry.manifest import Manifest
from mvc.registry.search.facts import Values, facts_of
from mvc.registry.search.records import Records

VERSION = 1
# How long another process may take to write before the records are read instead.
BUSY_SECONDS = 2
# Facts of so many versions are held in memory on their way to the file.
AT_ONCE = 1000

SCHEMA = """
CREATE TABLE own (inode TEXT NOT NULL);
CREATE TABLE families (
    id INTEGER PRIMARY KEY, folder TEXT NOT NULL UNIQUE,
    stamp TEXT NOT NULL, settled INTEGER NOT NULL, last TEXT NOT NULL);
CREATE TABLE versions (
    family INTEGER, number INTEGER, time INTEGER NOT NULL,
    PRIMARY KEY (family, number)) WITHOUT ROWID;
CREATE TABLE names (id INTEGER PRIMARY KEY, name NOT NULL UNIQUE);
CREATE TABLE facts (
    name INTEGER, family INTEGER, number INTEGER, place INTEGER, value,
    PRIMARY KEY (name, family, number, place)) WITHOUT ROWID;
"""
_KNOWN = "SELECT folder, id, stamp, settled, last FROM families"
_FACTS = (
    "SELECT family, number, value FROM facts WHERE name = (SELECT id FROM names WHERE name = ?)"
)


class Index:
    """Facts of some families from the index; from ``records`` where it cannot be used."""

    def __init__(
        self, manifest: Manifest, families: Sequence[Family], path: Path, records: Records
    ) -> None:
        self._manifest = manifest
        self._path = path
        self._records = records
        self._folders = [family.folder for family in families]
        self._ids: dict[int, str] = {}
        self._where = ""
        self._columns: dict[tuple[str, str], dict[str, dict[int, Values]]] = {}
        self._db: sqlite3.Connection | None = None
        with self._giving_up():
            self._db = _open(path)
            self._refresh(self._db)

    def column(self, family: Family, name: str, beginning: str = "") -> Mapping[int, Values]:
        key = name, beginning
        with self._giving_up():
            if self._db is not None and key not in self._columns:
                self._columns[key] = self._fetch(self._db, name, beginning)
        if key in self._columns:
            return self._columns[key].get(family.folder, {})
        return self._records.column(family, name, beginning)

    def names(self) -> Collection[str]:
        with self._giving_up():
            if self._db is not None:
                of_facts = f"SELECT 1 FROM facts WHERE facts.name = names.id{self._where}"
                found = self._db.execute(f"SELECT name FROM names WHERE EXISTS ({of_facts})")
                return {str(_loaded(name)) for (name,) in found}
        return self._records.names()

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Go on without the index where it cannot be used; remove it where it is damaged."""
        try:
            yield
        # Where a damaged schema is quoted in a message that is no text, Python cannot read it.
        except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
            with contextlib.suppress(sqlite3.Error):
                self.close()
            self._db = None
            self._columns.clear()
            if not isinstance(error, (sqlite3.OperationalError, OSError)):
                with contextlib.suppress(OSError):
                    fileio.remove(self._path)

    def _fetch(
        self, db: sqlite3.Connection, name: str, beginning: str
    ) -> dict[str, dict[int, Values]]:
        query, given = _FACTS + self._where, [_stored(name)]
        if beginning:
            query, given = (
                query + " AND substr(value, 1, ?) = ?",
                [*given, len(beginning), beginning],
            )
        found: dict[str, dict[int, Values]] = {folder: {} for folder in self._folders}
        last, column = None, {}
        for family, number, value in db.execute(query + " ORDER BY family, number, place", given):
            if family != last:
                last, column = family, found[self._ids[family]]
            value = _loaded(value) if isinstance(value, bytes) else value
            column[number] = (*column[number], value) if number in column else (value,)
        return found

    def _refresh(self, db: sqlite3.Connection) -> None:
        """Take in what is new, and hold that state until the end."""
        known = {folder: row for folder, *row in db.execute(_KNOWN)}
        due = [folder for folder in self._folders if not self._holds(folder, known.get(folder))]
        if due:
            db.execute("BEGIN IMMEDIATE")  # nobody else takes in or out while we do
            known = {folder: row for folder, *row in db.execute(_KNOWN)}
            for folder in due:
                self._take_in(db, folder, known.get(folder))
            db.execute("COMMIT")
        db.execute("BEGIN")
        wanted = set(self._folders)
        every = dict(db.execute("SELECT id, folder FROM families"))
        self._ids = {number: folder for number, folder in every.items() if folder in wanted}
        if len(self._ids) < len(every):
            self._where = f" AND family IN ({','.join(map(str, self._ids))})"

    def _stamp(self, folder: str) -> str:
        return "{} {}".format(*self._manifest.stamps(folder)[:2])

    def _holds(self, folder: str, row: Sequence[Any] | None) -> bool:
        return row is not None and bool(row[2]) and row[1] == self._stamp(folder)

    def _take_in(self, db: sqlite3.Connection, folder: str, row: Sequence[Any] | None) -> None:
        """Bring one family up to date; versions leave only with what takes their place."""
        stamp, checked = self._stamp(folder), time.time_ns()
        if row is None:
            db.execute("INSERT INTO families VALUES (NULL, ?, '', 0, '')", [folder])
            (row,) = db.execute(f"{_KNOWN} WHERE folder = ?", [folder])
            row = row[1:]
        family, last = row[0], row[3]
        times = self._manifest.record_times(folder, self._manifest.numbers(folder))
        kept = dict(db.execute("SELECT number, time FROM versions WHERE family = ?", [family]))
        stale = self._stale(folder, kept, times, last)
        _delete(db, family, stale)
        fresh = {n: changed for n, changed in times.items() if n not in kept or n in stale}
        read = dict(self._insert(db, family, folder, fresh))
        if read or stale:
            highest = max([*(kept.keys() - stale), *read], default=0)
            last = read.get(highest) or self._digest(folder, highest)
        settled = checked - int(stamp.split()[1]) > SETTLED_NS and stamp == self._stamp(folder)
        db.execute(
            "UPDATE families SET stamp = ?, settled = ?, last = ? WHERE id = ?",
            [stamp, settled and len(read) == len(fresh), last, family],
        )

    def _stale(
        self, folder: str, kept: Mapping[int, int], times: Mapping[int, int], last: str
    ) -> set[int]:
        """Return which versions are no longer what was taken in.

        A record never changes, but git, or a copy of another registry, may have
        put other files here: git's bear other times, and of a copy the last differs.
        """
        stale = {number for number, changed in kept.items() if times.get(number) != changed}
        if any(times.values()):
            return stale
        same = not kept or (not stale and self._digest(folder, max(kept)) == last)
        return set() if same else set(kept)

    def _digest(self, folder: str, number: int) -> str:
        """Return the digest of a record; empty where it cannot be read."""
        with contextlib.suppress(MvcError):
            return str(self._manifest.record(folder, number)[1])
        return ""

    def _insert(
        self, db: sqlite3.Connection, family: int, folder: str, fresh: Mapping[int, int]
    ) -> Iterator[tuple[int, str]]:
        """Insert records; yield the numbers and digests of those that can be read."""
        ids = {_loaded(name): number for number, name in db.execute("SELECT id, name FROM names")}
        versions: list[tuple[int, int, int]] = []
        facts: list[tuple[Any, ...]] = []

        def write() -> None:
            db.executemany("INSERT INTO versions VALUES (?, ?, ?)", versions)
            db.executemany("INSERT INTO facts VALUES (?, ?, ?, ?, ?)", facts)
            versions.clear()
            facts.clear()

        for number, changed in fresh.items():
            try:
                record, digest = self._manifest.read_record(folder, number)
            except MvcError as error:
                warn(UnreadWarning(error.message, error))
                continue
            versions.append((family, number, changed))
            for name, values in facts_of(record).items():
                if name not in ids:
                    made = db.execute("INSERT INTO names VALUES (NULL, ?)", [_stored(name)])
                    ids[name] = int(made.lastrowid or 0)
                for place, value in enumerate(values):
                    facts.append((ids[name], family, number, place, _stored(value)))
            if len(versions) == AT_ONCE:
                write()
            yield number, str(digest)
        write()


def _open(path: Path) -> sqlite3.Connection:
    """Open the index, made anew where it is another's: of another version, or a copy."""
    if path.is_symlink():  # it may lead to a database of somebody else's
        raise OSError(f"'{path}' is a symbolic link")
    for _ in range(2):
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        inode = str(os.stat(path).st_ino)
        if _version(db) == 0:
            db.execute("BEGIN IMMEDIATE")
            if _version(db) == 0:
                for statement in SCHEMA.split(";"):
                    db.execute(statement)
                db.execute("INSERT INTO own VALUES (?)", [inode])
                db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute("COMMIT")
        if (
            _version(db) == VERSION
            and db.execute(_STRANGE).fetchone() is None
            and db.execute("SELECT inode FROM own").fetchall() == [(inode,)]
        ):
            return db
        db.close()
        fileio.remove(path)
    raise sqlite3.OperationalError("somebody else makes it as well")


# A view or a trigger may do what no table does, such as never end.
_STRANGE = "SELECT 1 FROM sqlite_master WHERE type NOT IN ('table', 'index')"


def _version(db: sqlite3.Connection) -> int:
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


def _delete(db: sqlite3.Connection, family: int, numbers: Iterable[int]) -> None:
    gone = [(family, number) for number in numbers]
    db.executemany("DELETE FROM versions WHERE family = ? AND number = ?", gone)
    for (name,) in db.execute("SELECT id FROM names").fetchall() if gone else ():
        query = f"DELETE FROM facts WHERE name = {name} AND family = ? AND number = ?"
        db.executemany(query, gone)


def _stored(value: object) -> object:
    """Return a value as SQLite can keep it: what it cannot is kept as bytes."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return b"%d" % value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return b'"' + value.encode(errors="surrogatepass")
    return value


def _loaded(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    return value[1:].decode(errors="surrogatepass") if value[:1] == b'"' else int(value)
