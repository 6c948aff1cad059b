"""The manifest: a registry's records and events as a tree of files.

It reads and creates them; what they add up to is ``mvc.registry.family``.
Records and events are immutable, so what was read once is kept. Only git puts
other files in their place, when it goes to another branch: there a number may
be another version's, so an event means the version whose record it names.

Format: ``docs/formats/manifest.md``.
Public names: ``Manifest``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote

from mvc import durability, environment, fileio
from mvc.digest import Digest, digest_of
from mvc.errors import Damaged, FormatError, MvcError, NotFound, NotPermitted, Unsupported
from mvc.fileio import Steps
from mvc.lines import MAX_SIZE
from mvc.registry import event as events
from mvc.registry import record as records
from mvc.registry.event import Event, Standing, Tagged
from mvc.registry.names import check_family, folder_of, is_folder, model_suffix, near
from mvc.registry.record import Record
from mvc.registry.sealed import read_again
from mvc.store.settings import refuse_link
from mvc.system_errors import in_words

# Names stand between zero bytes, which are in none, so that one call finds the numbers of all.
_VERSIONS = re.compile(r"(?<=\0)v([1-9][0-9]{0,8})\.yaml(?=\0)")
_EVENTS = re.compile(r"(?<=\0)([0-9]{8})\.yaml(?=\0)")


MAX_NUMBER = 999_999_999


class Manifest:
    """Records and events under one folder, a folder a family.

    ``index`` is where a query index may be.
    """

    def __init__(self, folder: Path, index: Path | None = None) -> None:
        self.folder = folder
        self.index = index
        self._records: dict[tuple[str, int], tuple[Record, Digest]] = {}
        self._events: dict[tuple[str, int], Event] = {}
        self._stamps: dict[str, tuple[int, ...]] = {}

    def families(self) -> list[str]:
        """Return the folders of all families that have a version, or may, sorted."""
        return [name for name in self._with_versions() if is_folder(name)]

    def strays(self) -> list[str]:
        """Return the folders that have versions and whose name is no family's, sorted."""
        return [name for name in self._with_versions() if not is_folder(name)]

    def family_folder(self, name: str) -> Path:
        return self.folder / folder_of(name)

    def own_folder(self, name: str) -> Path:
        """Return a family's folder, to write in it.

        Raises:
            FormatError: It, or one above or in it, is a link.
        """
        folder = self.family_folder(name)
        for path in (self.folder, folder, folder / "versions", folder / "events"):
            refuse_link(path)
        return folder

    def refuse_closed(self, name: str) -> None:
        """Refuse, before anything is read for it, a family that would take no version.

        Raises:
            FormatError: As ``own_folder`` says.
            PermissionError: It is another user's to write to.
        """
        folder = self.own_folder(name)
        for path in (folder, folder / "versions") if folder.is_dir() else (self.folder,):
            if not fileio.may_write(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def require(self, name: str) -> str:
        """Return the folder name of a family that exists.

        Raises:
            UsageError: No family can be called so.
            NotFound: There is none; the hint names those like it.
            NotPermitted: It may not be looked into.
        """
        if not self._has_version(folder_of(check_family(name)), strict=True):
            raise NotFound(f"no family '{name}'", hint=self._family_hint(name))
        return folder_of(name)

    def numbers(self, family: str) -> list[int]:
        """Return the numbers of a family's versions, ascending, withdrawn ones too."""
        return self._numbers(family, "versions", _VERSIONS)

    def event_numbers(self, family: str) -> list[int]:
        """Return the numbers of a family's events, ascending."""
        return self._numbers(family, "events", _EVENTS)

    def refusal(self, family: str) -> MvcError | None:
        """Return why a family may not be looked into, if so."""
        try:
            self.numbers(family)
            self.event_numbers(family)
        except MvcError as error:
            return error
        return None

    def record(self, family: str, number: int) -> tuple[Record, Digest]:
        """Return a version's record and its digest.

        Raises:
            NotFound: There is no such version.
            Damaged: The record was changed or cannot be read.
        """
        key = folder_of(family), number
        if key not in self._records:
            self._records[key] = self.read_record(*key)
        return self._records[key]

    def read_record(self, family: str, number: int) -> tuple[Record, Digest]:
        """Return what ``record`` does, but keep nothing in memory."""
        data = self.record_bytes(family, number)
        try:
            record = records.decode(data)
            _check_owner(record.family, folder_of(family))
            return record, digest_of(data)
        except MvcError as error:
            raise self._damaged(f"{folder_of(family)}/v{number}", error) from None

    def record_path(self, family: str, number: int) -> Path:
        return self.family_folder(family) / "versions" / f"v{number}.yaml"

    def record_bytes(self, family: str, number: int) -> bytes:
        """Return a record's file as it is."""
        try:
            return fileio.read(self.record_path(family, number), MAX_SIZE)
        except FileNotFoundError:
            self.require(family)
            raise NotFound(
                f"no version v{number} of '{family}'",
                hint=f"it has {_span(self.numbers(family))}; mvc log {family} lists them",
            ) from None
        except (MvcError, OSError) as error:
            raise self._damaged(f"{folder_of(family)}/v{number}", error) from None

    def event(self, family: str, number: int) -> Event:
        """Return an event, with the number that the record it names has here.

        Where that record is not here and another has its number, a tag stands
        on no version, and whatever else was said is about version 0.

        Raises:
            Damaged: It was changed or cannot be read.
        """
        key = folder_of(family), number
        if key not in self._events:
            path = self._event_path(family, number)
            try:
                read = events.decode(fileio.read(path, MAX_SIZE), number)
                _check_owner(read.family, key[0])
                self._events[key] = read
            except (MvcError, OSError) as error:
                remedy = f"put back '{path}' from a copy; mvc fsck says what else helps"
                raise _distrusted(f"event {number} of '{family}'", error, remedy) from None
        event = self._events[key]
        change = event.change
        if not isinstance(change, (Tagged, Standing)):
            return event
        if change.version is None or change.record is None:
            return event
        placed = self._number_of(key[0], change.version, change.record)
        if placed == change.version:
            return event
        if isinstance(change, Tagged):
            return replace(event, change=replace(change, version=placed))
        return replace(event, change=replace(change, version=placed or 0))

    def create_version(
        self,
        family: str,
        record: bytes,
        check: Callable[[], None] | None = None,
        above: int | None = None,
        serves: Callable[[int], bool] = lambda number: False,
    ) -> Steps[int]:
        """Give a sealed record the family's next number: the commit point of ``add``.

        Args:
            check: Raises if there must be no version now. No other version comes
                between it and this one.
            above: The highest number, if it was just looked for. Numbers
                taken since are passed over.
            serves: Asked of each such number whether that version will do: then it is
                returned, and none is made.
        """
        folder = self.own_folder(family)
        fileio.make_folder(folder / "versions")
        staged = fileio.write_private(folder, [record])
        try:
            yield "record staged"
            number = (max(self.numbers(family), default=0) if above is None else above) + 1
            if number > MAX_NUMBER:
                raise MvcError(
                    f"'{family}' has a version v{number - 1}, and no number is left",
                    hint=f"look into '{folder / 'versions'}' for a file that does not belong there",
                )
            while True:
                if check is not None:
                    check()
                if fileio.link_once(staged, self.record_path(family, number)):
                    break
                if serves(number):
                    return number
                number += 1
            yield "version linked"
            fileio.sync_folder(folder / "versions")
            final = self.record_path(family, number)
            durability.check_done(final.exists(), final)
            yield "version durable"
        finally:
            fileio.remove(staged)
        return number

    def create_event(self, family: str, event: Event) -> Steps[bool]:
        """Create an event under its number; False if somebody else took it first.

        Raises:
            UsageError: It says what no reader would understand; nothing was written.
        """
        data = read_again(events.encode(event), lambda data: events.decode(data, event.number))
        folder = self.own_folder(family)
        fileio.make_folder(folder / "events")
        final = self._event_path(family, event.number)
        made: bool = yield from fileio.create_once(final, data, folder)
        durability.check_done(final.exists(), final)
        return made

    def settle_events(self, family: str) -> None:
        """Make durable what others created, before an answer is built on it."""
        folder = self.family_folder(family) / "events"
        if folder.is_dir():
            fileio.sync_folder(folder)

    def stamps(self, family: str) -> tuple[int, ...]:
        """Return inode and time of change of both folders: equal means nothing was created."""
        folder = self.family_folder(family)
        stamps: list[int] = []
        for name in ("versions", "events"):
            try:
                status = os.stat(folder / name)
                stamps += [status.st_ino, status.st_mtime_ns]
            except FileNotFoundError:
                stamps += [0, 0]
            except OSError as error:
                raise self._closed(family, error) from None
        found = tuple(stamps)
        if self._stamps.setdefault(family, found) != found and environment.in_git(self.folder):
            for kept in (self._records, self._events):
                for key in [key for key in kept if key[0] == family]:
                    kept.pop(key)
        self._stamps[family] = found
        return found

    def times(self, family: str, numbers: Iterable[int], events: Iterable[int]) -> int:
        """Return the sum of these files' times in a git work tree, and 0 elsewhere.

        It tells that git put another file under an old name.
        """
        if not environment.in_git(self.folder):
            return 0
        paths = [self._event_path(family, number) for number in events]
        return sum(self.record_times(family, numbers).values()) + sum(map(_time_of, paths))

    def record_times(self, family: str, numbers: Iterable[int]) -> dict[int, int]:
        """Return the times of these records' files in a git work tree, and 0 for each elsewhere."""
        if not environment.in_git(self.folder):
            return dict.fromkeys(numbers, 0)
        folder = self.family_folder(family) / "versions"
        return {number: _time_of(f"{folder}/v{number}.yaml") for number in numbers}

    def _event_path(self, family: str, number: int) -> Path:
        return self.family_folder(family) / "events" / f"{number:08d}.yaml"

    def _number_of(self, family: str, number: int, digest: Digest) -> int | None:
        """Return the number of a record, first looked for under ``number``; ``None``: not here."""
        taken = True
        try:
            if self.record(family, number)[1] == digest:
                return number
        except NotFound:
            taken = False
        except MvcError:  # it may well be this one
            return number
        for other in self.numbers(family):
            with contextlib.suppress(MvcError):
                if self.record(family, other)[1] == digest:
                    return other
        return None if taken else number

    def _with_versions(self) -> list[str]:
        return sorted(name for name in fileio.list_folder(self.folder) if self._has_version(name))

    def _has_version(self, folder: str, *, strict: bool = False) -> bool:
        """Say whether a folder has a version; one that cannot be looked into may have."""
        try:
            with os.scandir(self.folder / folder / "versions") as entries:
                return any(_VERSIONS.match(f"\0{entry.name}\0", 1) for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if strict:
                raise self._closed(folder, error) from None
            return True

    def _numbers(self, family: str, kind: str, pattern: re.Pattern[str]) -> list[int]:
        try:
            names = "\0".join(fileio.list_folder(self.family_folder(family) / kind))
        except OSError as error:
            raise self._closed(family, error) from None
        return sorted(map(int, pattern.findall(f"\0{names}\0")))

    def _closed(self, family: str, error: OSError) -> MvcError:
        """Say whose a family is that may not be looked into."""
        folder, said = self.family_folder(family), in_words(error)
        if isinstance(said, NotPermitted):
            with contextlib.suppress(OSError):
                owner = environment.owner_of(folder)
                said.message += f", which is {owner}'s"
                said.hint = f"to be run by {owner}: chmod -R a+rX {quote(str(folder))}"
        return said

    def _damaged(self, identity: str, error: MvcError | OSError) -> MvcError:
        family, _, version = identity.partition("/v")
        path = self.record_path(family, int(version))
        remedy = f"put back '{path}' from a copy; mvc fsck says whether the store has one"
        return _distrusted(f"the record of {identity}", error, remedy)

    def _family_hint(self, name: str) -> str:
        known = self.families()
        if not known:
            return "mvc add FAMILY PATH registers the first version"
        if (meant := near(name, known)) is None and model_suffix(name):
            return f"mvc show and diff take a file as ./{name}; mvc list shows all families"
        return meant or "mvc list shows all families"


def _span(numbers: Sequence[int]) -> str:
    return f"v{numbers[0]} to v{numbers[-1]}" if len(numbers) > 1 else f"v{numbers[0]} only"


def _check_owner(family: str, folder: str) -> None:
    if folder_of(family) != folder:
        raise FormatError(f"it is one of '{family}'")


def _distrusted(what: str, error: MvcError | OSError, remedy: str) -> MvcError:
    if isinstance(error, Unsupported):
        return Unsupported(f"{what} cannot be read: {error.message}", hint=error.hint)
    if isinstance(error, PermissionError):
        remedy = f"to be run by who owns it: chmod a+r {quote(str(error.filename))}"
    hint = error.hint if isinstance(error, MvcError) else None
    return Damaged(f"{what} cannot be trusted: {in_words(error).message}", hint=hint or remedy)


def _time_of(path: str | Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
