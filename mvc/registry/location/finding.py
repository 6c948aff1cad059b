"""Finding the store: the places where it may be, and whether it may be written to.

A folder counts as the store only if its ``store.yaml`` bears the id that
``config.yaml`` names, so an empty mount point never passes. A store found
where nobody said that it is serves reads only, until ``mvc store relink``:
tonight's versions are not to go into last month's copy.

Rules and reasons: ``docs/relocation.md``.
Public names: ``Located``, ``locate``, ``records_only``, ``note``, ``forget_note``, ``noted``,
``HOW``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from mvc import environment, fileio, lines
from mvc.compatibility import FORMAT
from mvc.errors import MvcError, MvcWarning, NotFound, StoreMissing, StoreWarning, warn
from mvc.registry.location import lost
from mvc.registry.location import place as settings
from mvc.registry.location.place import Place
from mvc.store.alternates import problem_of
from mvc.store.settings import being_moved, claims, identity_of, moved_to, read_note, text_of

if TYPE_CHECKING:
    from mvc.store import Store

NOTES = "stores.yaml"
MOST_MOVES = 5
# Where the user has said that the store is; anywhere else it is read only.
TRUSTED = ("named", "noted", "configured")

HOW = {
    "named": "as named by --store or MVC_STORE",
    "noted": "by your own note, ~/.config/mvc/stores.yaml",
    "configured": "where it is configured",
    "default": "at the default place, not where it is configured",
    "fallback": "at a fallback, not where it is configured",
    "moved": "by following a move",
}
"""How a store came to be looked for where it was found, in words."""


@dataclass(frozen=True, slots=True)
class Located:
    """A store that was found: ``how`` it came to be looked for there, and why not to write to it.

    ``how`` is ``named``, ``noted``, ``configured``, ``default``, ``fallback`` or ``moved``.
    """

    store: Store
    how: str
    refusal: MvcError | None


def locate(place: Place, named: Path | None = None) -> Located:
    """Find and open a registry's store. Warns if it is not where it should be.

    Args:
        named: Where to look first, as the user named it.

    Raises:
        StoreMissing: No place where it may be holds the store with this id.
        FormatError, Unsupported: One of them cannot be read, or not by this mvc.
    """
    if not place.store_id:
        raise records_only(place, _founding(named))
    failures: list[str] = []
    left: list[Path] = []
    elsewhere: tuple[Path, str] | None = None
    for how, path in _candidates(place, named):
        if not _is_it(path, place.store_id, failures):
            continue
        if moved_to(path) is not None:
            left.append(path)
        elif how in TRUSTED:
            return _opened(place, path, how, None)
        else:
            elsewhere = path, how
            break
    now = settings.read(place.folder)
    if now.store_path != place.store_path:  # a move has switched them since they were read
        return locate(now, named)
    if elsewhere is not None:
        return _elsewhere(place, *elsewhere)
    for path in left:
        target = _followed(path, place.store_id, failures)
        if target is not None:
            return _moved(place, path, target)
    for path in left:
        if any(fileio.list_folder(path / "roots")):  # it was not emptied: the move was cut off
            return _on_the_move(place, path)
    raise StoreMissing(
        f"the store of '{place.folder}' is not there: {'; '.join(dict.fromkeys(failures))}",
        hint=lost.remedy(place.store_path)
        if lost.is_nameless(place, place.store_path)
        else "mount or restore it, or say where it is: mvc store relink PATH, or MVC_STORE=PATH "
        "for once",
    )


def records_only(place: Place, hint: str) -> StoreMissing:
    """Return the error for a clone that was not given a store yet."""
    return StoreMissing(
        f"no store here: '{place.folder}' has records only, as git carries them", hint=hint
    )


def _founding(named: Path | None) -> str:
    """Say how a clone is given a store: the one that was named, if there is one."""
    if named is None:
        return "mvc init makes one, or mvc init --store PATH attaches one that has the bytes"
    failures: list[str] = []
    if _is_it(named, None, failures):
        return f"mvc init --store {quote(str(named))} attaches the one named"
    return f"{failures[0]}; mvc init --store PATH attaches one that has the bytes"


def noted(store_id: str) -> Path | None:
    """Return where the user has noted that a store is."""
    return _notes().get(store_id)


def note(store_id: str, path: Path) -> None:
    """Note for this user where a store is; for every registry of theirs that uses it."""
    _write_notes({**_notes(), store_id: path})


def forget_note(store_id: str) -> None:
    """Drop the user's note about a store."""
    known = _notes()
    if known.pop(store_id, None) is not None:
        _write_notes(known)


def _candidates(place: Place, named: Path | None) -> Iterator[tuple[str, Path]]:
    places: list[tuple[str, Path | None]] = [
        ("named", named),
        ("noted", noted(place.store_id)),
        ("configured", place.store_path),
        ("default", place.default_store),
        *(("fallback", path) for path in place.fallbacks),
    ]
    seen: set[Path] = set()
    for how, path in places:
        if path is not None and path not in seen:
            seen.add(path)
            yield ("configured" if path == place.store_path else how), path


def _is_it(path: Path, store_id: str | None, failures: list[str]) -> bool:
    """Say whether the store with this id, or any, is in ``path``; add the reason if not."""
    try:
        identity = identity_of(path)
    except NotFound as error:
        failures.append(error.message)
    except OSError as error:  # a dead mount, or a folder of somebody else's
        failures.append(f"'{path}' cannot be read: {error.strerror}")
    else:
        if store_id in (None, identity):
            return True
        failures.append(f"the store in '{path}' is another one ({identity[:8]})")
    return False


def _followed(path: Path, store_id: str, failures: list[str]) -> Path | None:
    """Follow notes of moves from ``path`` to where the store is now."""
    for _ in range(MOST_MOVES):
        target = moved_to(path)
        if target is None:
            return path
        problem = problem_of(target, path)
        if problem is not None:
            if not any(f"'{target}'" in failure for failure in failures):
                failures.append(f"it was moved from '{path}' to '{target}': {problem}")
            return None
        if not _is_it(target, store_id, failures):
            return None
        path = target
    return None


def _opened(place: Place, path: Path, how: str, refusal: MvcError | None) -> Located:
    from mvc.store import Store  # what only reads records does without

    return Located(Store(path, place.store_id, place.cache), how, refusal)


def _elsewhere(place: Place, path: Path, how: str) -> Located:
    _warn(
        f"the store was found in '{path}', not in '{place.store_path}': read only; "
        "mvc store relink uses it from now on"
    )
    refusal = MvcError(
        f"the store in '{path}' is not where it is configured, so it is read only",
        hint="mount the configured one, or use this from now on: mvc store relink",
    )
    if claims(path):
        refusal = being_moved(place.store_path, path)
    return _opened(place, path, how, refusal)


def _moved(place: Place, path: Path, target: Path) -> Located:
    _warn(
        f"the store was moved from '{path}' to '{target}': read only; "
        "mvc store relink uses it there from now on"
    )
    refusal = MvcError(
        f"the store in '{path}' was moved to '{target}', and is read only until that is noted here",
        hint="to note it: mvc store relink",
    )
    if claims(target):  # whoever moves it has not come to noting it
        refusal = being_moved(path, target)
    return _opened(place, target, "moved", refusal)


def _on_the_move(place: Place, path: Path) -> Located:
    refusal = being_moved(path, moved_to(path))
    _warn(f"{refusal.message}: read only")
    return _opened(place, path, "moved", refusal)


def _warn(text: str) -> None:
    warn(text, StoreWarning)


def _notes() -> dict[str, Path]:
    folder = environment.settings_folder()
    if folder is None:
        return {}
    try:
        values = read_note(folder / NOTES) or {}
    except (MvcError, OSError) as error:
        warn(f"the notes on stores are passed over: {error}", MvcWarning)
        return {}
    stores = values.get("stores")
    known = stores.items() if isinstance(stores, dict) else ()
    return {name: Path(path) for name, path in known if isinstance(path, str)}


def _write_notes(known: dict[str, Path]) -> None:
    folder = environment.settings_folder()
    if folder is None:
        raise NotFound("there is no home folder to note it in", hint="XDG_CONFIG_HOME names one")
    fileio.make_folder(folder)
    stores = {name: text_of(path) for name, path in sorted(known.items())}
    fileio.replace(folder / NOTES, lines.dumps({"mvc": FORMAT, "stores": stores}), durable=True)
