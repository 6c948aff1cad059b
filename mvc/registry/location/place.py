"""Where a registry is, and what its ``config.yaml`` says.

It is found by looking upward; records hold digests and never paths, so it
may move. git carries the records only: a clone has a manifest, and neither
settings nor store, until ``init``. Where the store is: ``mvc.registry.location.finding``.
How a registry is made: ``mvc.registry.location.founding``.

Layout: ``docs/formats/registry.md``.
Public names: ``Place``, ``at``, ``find``, ``exists``, ``is_clone``, ``read``, ``check_store``,
``settings_for``, ``change``, ``path_text``, ``tidy``, ``inode_of``, ``stamp``, ``is_tools_own``,
``open_to_all``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from mvc import environment, fileio, lines
from mvc.compatibility import FORMAT, check_format
from mvc.errors import Busy, FormatError, MvcWarning, NotFound, warn
from mvc.store.settings import is_id, text_of

FOLDER = ".mvc"
CONFIG = "config.yaml"
MANIFEST = "manifest"
CACHE_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# made by mvc; may be deleted\n"

_SETTINGS_HINT = (
    "put it back from a copy; or delete it, and mvc init makes one for the store in .mvc/store, "
    "mvc init --store DIR for one elsewhere"
)
_REPEATED_HINT = "each key stands once: make one line of the two in an editor"
_FALLBACKS_HINT = 'as in fallbacks: ["/backup/models", "../copy"]'

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Place:
    """A registry's folder and settings, as ``config.yaml`` has them.

    ``inode`` is that of the folder for which the id was given; ``None`` where
    it was not noted. Of a clone that git made there is only the folder: its
    ids are empty.
    """

    folder: Path
    id: str
    store_path: Path
    store_id: str
    cache: Path | None
    fallbacks: tuple[Path, ...] = ()
    inode: int | None = None

    @property
    def manifest(self) -> Path:
        return self.folder / MANIFEST

    @property
    def query_index(self) -> Path | None:
        """Where this host keeps the query index: locks of databases do not reach other hosts."""
        return self.cache and self.cache / f"query-{self.id}-{environment.host()}.sqlite"

    @property
    def default_store(self) -> Path:
        return self.folder / "store"

    @property
    def is_copy(self) -> bool:
        """Whether this folder is a copy of the one for which the id was given."""
        return self.inode not in (None, inode_of(self.folder))


def at(path: Path) -> Path:
    """Return the registry folder that ``path`` means: a project, or its ``.mvc``."""
    path = environment.full_path(path)
    itself = path.name == FOLDER or ((path / CONFIG).is_file() and (path / MANIFEST).is_dir())
    return path if itself else path / FOLDER


def is_tools_own(path: Path, store: Path) -> bool:
    """Say whether a path lies in a registry, in the store, or in what git keeps for itself.

    Where the last name is a link, the link counts and not what it leads to.
    """
    real = Path(os.path.realpath(path.parent), path.name)
    inside = Path(os.path.realpath(store)) in (real, *real.parents)
    return inside or not {".git", FOLDER}.isdisjoint(part.lower() for part in real.parts)


def find(start: Path, *, named: bool = False) -> Path:
    """Return the registry folder in ``start`` or the nearest above it.

    Args:
        named: The user named ``start``, so it is trusted whoever may write there.

    Raises:
        NotFound: There is none.
    """
    hint = "mvc init makes one"
    for folder in environment.upward(start):
        found = folder / FOLDER
        if not exists(found):
            continue
        if named and folder == start.absolute():
            return found
        opened = open_to_all(found)
        if opened is None:
            return found
        typed = f"MVC_DIR={quote(str(found))}"
        hint = f"{typed} uses the one that was passed over"
        warn(
            f"passed over '{found}': anyone may write to '{opened}'; {typed} uses it",
            MvcWarning,
        )
    raise NotFound(f"no registry in '{start.absolute()}' or above it", hint=hint)


def open_to_all(folder: Path) -> Path | None:
    """Return what others could have put a registry into: the folder it is in, or itself."""
    return next(filter(environment.anyone_may_write, (folder.parent, folder)), None)


def exists(folder: Path) -> bool:
    """Say whether ``folder`` is a registry, or the records of one."""
    # In this order: a clone may be given its settings between the looks.
    return is_clone(folder) or (folder / CONFIG).is_file()


def is_clone(folder: Path) -> bool:
    """Say whether ``folder`` has records but no settings, as git leaves it."""
    return (folder / MANIFEST).is_dir() and not (folder / CONFIG).exists()


def read(folder: Path) -> Place:
    """Read a registry's settings.

    Raises:
        NotFound: There is no registry in ``folder``.
        FormatError: ``config.yaml`` is damaged.
        Unsupported: A newer mvc wrote it.
    """
    if is_clone(folder):
        return Place(folder, "", folder / "store", "", cache=None)
    values = _settings(folder)
    check_format(values.get("mvc"), f"registry '{folder}'")
    path, store = folder / CONFIG, values.get("store")
    if not is_id(values.get("id")) or not isinstance(store, dict) or not is_id(store.get("id")):
        raise FormatError(f"'{path}' names no registry and store", hint=_SETTINGS_HINT)
    if not isinstance(store.get("path"), str):
        raise FormatError(f"'{path}' does not say where the store is", hint=_SETTINGS_HINT)
    fallbacks, inode = values.get("fallbacks", []), values.get("inode")
    if not isinstance(fallbacks, list) or not all(isinstance(item, str) for item in fallbacks):
        text = f"'{path}': the fallbacks are not a list of folders"
        raise FormatError(text, hint=_FALLBACKS_HINT)
    if inode is not None and type(inode) is not int:
        raise FormatError(f"'{path}': the inode is not a number", hint=_SETTINGS_HINT)
    return Place(
        folder,
        values["id"],
        _path(folder, store["path"]),
        store["id"],
        _cache(folder),
        tuple(_path(folder, item) for item in fallbacks),
        inode,
    )


def check_store(place: Place) -> None:
    """Refuse to go on with a store that the registry has exchanged since ``place`` was read.

    Who exchanges an empty one looks for intents once that is settled, and this is for who has
    made one: so one of the two sees the other.

    Raises:
        Busy: It has another one now.
    """
    if read(place.folder).store_id != place.store_id:
        raise Busy(
            f"'{place.folder}' was given another store meanwhile", hint="run the command again"
        )


def settings_for(folder: Path, identity: str, inode: int, store: Path, store_id: str) -> bytes:
    """Return the ``config.yaml`` of a new registry in ``folder``."""
    values: dict[str, lines.Value] = {
        "mvc": FORMAT,
        "id": identity,
        "inode": inode,
        "store": {"path": path_text(folder, store), "id": store_id},
        "fallbacks": [],
    }
    return lines.dumps(values)


def change(folder: Path, **changed: lines.Value) -> None:
    """Give settings of a registry other values, durably; those not named stay as they are."""
    fileio.replace(folder / CONFIG, lines.dumps({**_settings(folder), **changed}), durable=True)


def path_text(folder: Path, store: Path) -> str:
    """Return how ``config.yaml`` names a store: from its folder if it lies in the same project.

    Raises:
        UsageError: The path is no text.
    """
    inside = folder.parent == store or folder.parent in store.parents
    return text_of(Path(os.path.relpath(store, folder)) if inside else store)


def tidy(path: Path) -> Path:
    """Return a path of a store as it is noted: from the root, without detours."""
    return Path(os.path.normpath(environment.full_path(path)))


def inode_of(folder: Path) -> int:
    """Return the number by which a folder is told from its copies; the same on every host."""
    return os.stat(folder).st_ino


def stamp(folder: Path) -> tuple[int, ...]:
    """Return what is another whenever a registry was given other settings; empty: it has none."""
    try:
        found = os.stat(folder / CONFIG)
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns


def _path(folder: Path, text: str) -> Path:
    return Path(os.path.normpath(folder / text))


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        return lines.loads(fileio.read(path, lines.MAX_SIZE))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no registry in '{folder}'", hint="mvc init makes one") from None
    except FormatError as error:
        hint = _REPEATED_HINT if " repeats the key " in error.message else _SETTINGS_HINT
        raise FormatError(f"'{path}': {error.message}", hint=hint) from None


def _cache(folder: Path) -> Path | None:
    """Return a folder for disposable files, made if need be; ``None`` where none may be."""
    cache = environment.cache_folder() or folder / "cache"
    try:
        if cache == folder / "cache" and cache.is_symlink():  # it may lead to somebody else's
            return None
        if not cache.is_dir():
            fileio.make_folder(cache)
            fileio.replace(cache / "CACHEDIR.TAG", CACHE_TAG)
    except OSError:
        return None
    return cache if os.access(cache, os.R_OK) else None
