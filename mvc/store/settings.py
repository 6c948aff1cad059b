"""What a store says of itself: its id, its format, and where it went.

A folder is a store by its ``store.yaml``. A store that is being moved, or was,
has a ``moved-to.yaml`` beside it: it takes no more transactions, and whoever
looks for it is led on. A folder with a *claim*, a ``moving-<id>.yaml``, and no ``store.yaml``
is the unfinished target of a move, and nobody takes it for a store.

Layout: ``docs/formats/store.md``.
Public names: ``new_id``, ``root_name``, ``is_id``, ``check_features``, ``check_folders``,
``refuse_link``, ``text_of``, ``identity_of``, ``establish``, ``is_vacant``, ``moved_to``,
``standing``, ``claims``, ``moved_from``, ``called_off_from``, ``leads_on``, ``leads_to``,
``being_moved``, ``read_note``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from datetime import datetime, timezone
from pathlib import Path
from shlex import quote
from typing import Any

from mvc import fileio, lines
from mvc.compatibility import FORMAT, check_format
from mvc.digest import digest_of
from mvc.errors import Busy, FormatError, MvcError, NotFound, Unsupported, UsageError
from mvc.fileio import Steps

SETTINGS = "store.yaml"
MOVED = "moved-to.yaml"
CALLED_OFF = "called-off.yaml"
# What gc notes of what is needed; see docs/gc.md.
COLLECTED = "collected.yaml"
MAX_SETTINGS = 64 << 10
PACKS, ROOTS, STAGING, TRASH = "packs", "roots", "staging", "trash"
QUARANTINE = "quarantine"
FOLDERS = (PACKS, ROOTS, STAGING, "features", "locks")
# A new disk is not empty: its file system keeps this folder for itself.
_OF_THE_DISK = "lost+found"

_ID = re.compile(r"[0-9a-f]{32}\Z")
_CLAIM = re.compile(r"moving-[0-9a-f]{32}\.yaml\Z")


def new_id() -> str:
    """Return 128 random bits as hex: the name of a store, registry or transaction."""
    return os.urandom(16).hex()


def root_name(record: bytes) -> str:
    """Return the file name of a record's copy in the store."""
    return f"{digest_of(record).hex()}.yaml"


def is_id(text: object) -> bool:
    """Say whether ``text`` is such a name."""
    return isinstance(text, str) and bool(_ID.match(text))


def identity_of(folder: Path) -> str:
    """Return the id of the store in ``folder``.

    Raises:
        NotFound: There is none.
        Unsupported: A newer mvc made it, or it uses a feature this one lacks.
        FormatError: Its ``store.yaml`` is damaged, or one of its folders is a link.
    """
    try:
        settings = lines.loads(fileio.read(folder / SETTINGS, MAX_SETTINGS))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # or no path at all
        raise NotFound(f"no store in {str(folder)[:200]!r}") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise NotFound(f"no store in {str(folder)[:200]!r}") from None
        raise
    except FormatError as error:
        raise FormatError(f"'{folder / SETTINGS}': {error.message}") from None
    identity = settings.get("id")
    check_format(settings.get("mvc"), f"store '{folder}'")
    if not isinstance(identity, str) or not is_id(identity):
        raise FormatError(f"'{folder / SETTINGS}' bears no store id")
    check_folders(folder)
    check_features(folder)
    return identity


def text_of(path: Path) -> str:
    """Return a path as it is written into a file.

    Raises:
        UsageError: It is no text.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the path {text!r} is no text", hint="choose a path in UTF-8") from None
    return text


def refuse_link(folder: Path) -> None:
    """Refuse a folder of ours that is a link: what lies behind it may be somebody else's.

    Raises:
        FormatError: It is one.
    """
    if os.path.islink(folder):
        raise FormatError(
            f"'{folder}' is a symbolic link", hint="put the folder itself in the link's place"
        )


def check_folders(folder: Path) -> None:
    """Refuse a store with a link among its folders: nothing is written or deleted through one.

    Raises:
        FormatError: There is one.
    """
    for name in (*FOLDERS, TRASH, QUARANTINE):
        refuse_link(folder / name)
    for name in (ROOTS, STAGING):
        with contextlib.suppress(OSError), os.scandir(folder / name) as entries:
            for entry in entries:
                if entry.is_symlink():
                    refuse_link(Path(entry.path))


def check_features(folder: Path) -> None:
    """Refuse a store that uses what this mvc does not know.

    Raises:
        Unsupported: There is such a feature.
    """
    for feature in fileio.list_folder(folder / "features"):
        raise Unsupported(
            f"store '{folder}' uses '{feature}', which this mvc does not know",
            hint="a newer mvc wrote it; upgrade to read it",
        )


def establish(folder: Path, identity: str) -> Steps[bool]:
    """Make ``folder`` the store ``identity``: its folders and, last and once, ``store.yaml``.

    Returns:
        Whether this call did.
    """
    for name in FOLDERS:
        fileio.make_folder(folder / name)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
    data = lines.dumps({"mvc": FORMAT, "id": identity, "created": created})
    return (yield from fileio.create_once(folder / SETTINGS, data, folder))


def is_vacant(folder: Path) -> bool:
    """Say whether a store may be made in ``folder``: it is absent, empty, or one half made."""
    try:
        names = set(fileio.list_folder(folder)) - {_OF_THE_DISK}
        inside = [name for known in names for name in fileio.list_folder(folder / known)]
        check_folders(folder)
    except (NotADirectoryError, FormatError):
        return False
    return names <= set(FOLDERS) and not inside


def moved_to(folder: Path) -> Path | None:
    """Return where the store in ``folder`` is being moved to, or was; ``None`` if it stays.

    Raises:
        FormatError: The note is damaged: such a store is not to be written to.
    """
    return _path_in(folder / MOVED, "to")


def standing(folder: Path) -> tuple[object, ...]:
    """Return what is another whenever the store was moved to ``folder``, or away, meanwhile."""
    try:
        found = os.stat(folder / SETTINGS)
        return found.st_ino, found.st_mtime_ns, moved_to(folder)
    except (MvcError, OSError):
        return ()


def claims(folder: Path) -> list[Path]:
    """Return the claims of moves into ``folder``: those under way, and of one that was killed."""
    try:
        names = sorted(filter(_CLAIM.match, fileio.list_folder(folder)))
    except NotADirectoryError:
        return []
    return [folder / name for name in names]


def moved_from(folder: Path) -> Path | None:
    """Return the store that is being moved into ``folder``; ``None`` if none is."""
    return next((_path_in(claim, "from") for claim in claims(folder)), None)


def called_off_from(folder: Path) -> Path | None:
    """Return the store whose move into ``folder`` was called off: copies of it are there."""
    return _path_in(folder / CALLED_OFF, "from")


def leads_on(folder: Path) -> Path | None:
    """Return where a store that was moved, whole, now is; a damaged note leads nowhere."""
    try:
        target = moved_to(folder)
        return target if target and identity_of(target) == identity_of(folder) else None
    except (MvcError, OSError):
        return None


def leads_to(folder: Path, target: Path) -> bool:
    """Say whether a store was moved from ``folder`` to ``target``, by way of others or not."""
    seen: set[Path] = set()
    place: Path | None = folder
    while place is not None and place not in seen:
        seen.add(place)
        place = leads_on(place)
        if place == target:
            return True
    return False


def being_moved(folder: Path, target: Path | None) -> Busy:
    """Return the error for writing to a store while it moves, or after a move was cut off."""
    return Busy(
        f"the store in '{folder}' is being moved to '{target}'",
        hint=f"if no move is running: mvc store move {quote(str(target))} finishes it, "
        f"mvc store relink {quote(str(folder))} calls it off",
    )


def read_note(path: Path) -> dict[str, Any] | None:
    """Return the lines of a small file beside ``store.yaml``; ``None`` if it is not there.

    Raises:
        FormatError: It is damaged.
        Unsupported: A newer mvc wrote it.
    """
    try:
        values = lines.loads(fileio.read(path, MAX_SETTINGS))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except FormatError as error:
        raise FormatError(f"'{path}': {error.message}") from None
    check_format(values.get("mvc"), f"'{path}'")
    return values


def _path_in(path: Path, key: str) -> Path | None:
    values = read_note(path)
    if values is None:
        return None
    named = values.get(key)
    if not isinstance(named, str) or not os.path.isabs(named) or "\0" in named:
        raise FormatError(f"'{path}' names no folder")
    return Path(named)
