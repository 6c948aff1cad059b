"""Alternates: other stores that are asked for what this one lacks.

They serve reads and repair only. What lies in one is never taken for stored:
``add`` stores it again, so whoever owns the other store may clear it out.
The list is a file that anybody who can write to the store may have written,
so its paths are not trusted: absolute, resolved, owned by the owner of this
store, by root or by this user, at most five stores deep, and never twice.

Format: ``docs/formats/store.md``.
Public names: ``Alternate``, ``listed``, ``change``, ``reachable``,
``problem_of``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mvc import fileio, lines
from mvc.compatibility import FORMAT
from mvc.errors import FormatError, MvcError, UsageError
from mvc.store.settings import MAX_SETTINGS, identity_of, moved_to, read_note
from mvc.system_errors import in_words

FILE = "alternates.yaml"
MOST_DEEP = 5
MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class Alternate:
    """A store named by another: where it is, or ``problem``, why it is not read from."""

    path: Path
    problem: str | None = None


def listed(store: Path) -> tuple[str, ...]:
    """Return the paths that a store lists, as they are written.

    Raises:
        FormatError: The list is damaged.
        Unsupported: A newer mvc wrote it.
    """
    values = read_note(store / FILE) or {}
    paths = values.get("alternates", [])
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise FormatError(f"'{store / FILE}' is not a list of folders")
    if len(paths) > MOST_LISTED:
        raise FormatError(f"'{store / FILE}' lists {len(paths)} stores, at most {MOST_LISTED}")
    return tuple(paths)


def change(store: Path, *, add: Path | None = None, remove: Path | None = None) -> None:
    """Add a store to the list, or take one off it.

    Raises:
        UsageError: The one to add could not be read from, or the other is not listed.
    """
    paths = list(listed(store))
    if remove is not None:
        if str(remove) not in paths:
            raise UsageError(f"'{remove}' is no alternate", hint="mvc store alternates lists them")
        paths.remove(str(remove))
    if add is not None and str(add) not in paths:
        problem = problem_of(add, store)
        if problem is not None:
            raise UsageError(
                f"'{add}' cannot be an alternate: {problem}",
                hint="name a store of yours or of root's: the folder that its store.yaml is in",
            )
        paths.append(str(add))
    try:
        data = lines.dumps({"mvc": FORMAT, "alternates": paths})
    except ValueError:
        raise UsageError("the path is no text", hint="choose a path in UTF-8") from None
    if len(data) > MAX_SETTINGS or len(paths) > MOST_LISTED:
        raise UsageError(
            f"at most {MOST_LISTED} alternates are read",
            hint="mvc store alternates --remove PATH takes one off the list",
        )
    fileio.replace(store / FILE, data, durable=True)


def reachable(store: Path) -> Iterator[Alternate]:
    """Yield the stores to ask after ``store``: where it was moved to, its alternates, and theirs.

    Each comes once, nearest first; one with a ``problem`` is not to be read from.
    """
    seen = {store.resolve()}
    level: list[tuple[Path, tuple[Path, ...]]] = [(store, (store.resolve(),))]
    for depth in range(MOST_DEEP + 1):
        further: list[tuple[Path, tuple[Path, ...]]] = []
        for folder, above in level:
            for text, problem in _named_by(folder):
                path = Path(text)
                problem = problem or _problem(text, _owners(store), above)
                if problem is None and depth == MOST_DEEP:
                    problem = f"it is more than {MOST_DEEP} stores away"
                if problem is not None:
                    yield Alternate(path, problem)
                elif (real := path.resolve()) not in seen:
                    seen.add(real)
                    further.append((real, (*above, real)))
                    yield Alternate(real)
        level = further


def problem_of(path: Path, store: Path) -> str | None:
    """Return why ``path``, to which a note in ``store`` leads, is not read from."""
    return _problem(str(path), _owners(store), (store.resolve(),))


def _named_by(store: Path) -> Iterator[tuple[str, str | None]]:
    """Yield the paths to which a store leads, or what is wrong with its notes."""
    readers: list[Callable[[], tuple[str, ...]]] = [
        lambda: tuple(str(path) for path in (moved_to(store),) if path),
        lambda: listed(store),
    ]
    for read in readers:
        try:
            yield from ((path, None) for path in read())
        except (MvcError, OSError) as error:
            yield str(store), in_words(error).message


def _owners(store: Path) -> set[int]:
    return {os.stat(store).st_uid, 0, os.geteuid()}


def _problem(text: str, owners: set[int], above: tuple[Path, ...]) -> str | None:
    """Return why a path is not read from."""
    if not os.path.isabs(text) or "\0" in text:
        return "its path does not begin at the root"
    try:
        path = Path(text).resolve(strict=True)
        if path in above:
            return "it leads back to where it is listed"
        identity_of(path)
        for part in (path, path / "store.yaml", path / "packs"):
            owner = os.lstat(part).st_uid
            if owner not in owners:
                return f"it belongs to another user ({owner})"
    except FileNotFoundError:
        return "it is not there"
    except MvcError as error:
        return error.message
    except (OSError, RuntimeError) as error:  # a loop of links is the latter before Python 3.13
        return (error.strerror if isinstance(error, OSError) else None) or str(error)
    return None
