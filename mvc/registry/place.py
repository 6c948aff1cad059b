"""Where a registry is, and where its store is.

Records hold digests, never paths, so both may move: the registry is found by
looking upward, the store by its id. A folder counts as the store only if its
``store.yaml`` bears the id that ``config.yaml`` names. git carries the records
only: a clone has a manifest, and neither settings nor store, until ``init``.

Layout: ``docs/formats/registry.md``.
Public names: ``Place``, ``find``, ``at``, ``create``.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvc import environment, fileio, lines
from mvc.errors import FormatError, MvcError, MvcWarning, NotFound, StoreWarning
from mvc.store import Store
from mvc.store.store import check_version, is_id, new_id

VERSION = 0
FOLDER = ".mvc"
CONFIG = "config.yaml"
MANIFEST = "manifest"
CACHE_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# made by mvc; may be deleted\n"
_IGNORED = b"config.yaml\nstore/\ncache/\nfamily.yaml\n.mvc-new-*\n"
# git must neither convert line ends nor merge inside a sealed file.
_ATTRIBUTES = b"* -text -merge\n"


@dataclass(frozen=True, slots=True)
class Place:
    """An opened registry's folder and settings; ``store_path`` as ``config.yaml`` has it.

    Of a clone that git made there is only the folder: its ids are empty.
    """

    folder: Path
    id: str
    store_path: Path
    store_id: str
    cache: Path | None

    @property
    def manifest(self) -> Path:
        return self.folder / MANIFEST

    def open_store(self, named: Path | None = None) -> tuple[Store, bool]:
        """Open the store, and say whether it may be written to.

        Args:
            named: Where to look first, as the user named it.

        Raises:
            NotFound: No place where it may be holds the store with this id.
        """
        if not self.store_id:
            raise NotFound(
                f"no store here: '{self.folder}' has records only, as git carries them",
                hint="mvc init makes one, or mvc init --store PATH attaches one that has the bytes",
            )
        failures = []
        for path in dict.fromkeys(p for p in (named, self.store_path, self.folder / "store") if p):
            try:
                store = Store.open(path, expect=self.store_id, cache=self.cache)
            except NotFound as error:
                failures.append(error.message)
                continue
            if path not in (named, self.store_path):
                warnings.warn(
                    f"the store was found in '{path}', not in '{self.store_path}': read only",
                    StoreWarning,
                    stacklevel=2,
                )
                return store, False
            return store, True
        raise NotFound(
            f"the store of '{self.folder}' is not there: {'; '.join(failures)}",
            hint="mount or restore it, or name its place: MVC_STORE=PATH",
        )


def at(path: Path) -> Path:
    """Return the registry folder that ``path`` means: a project, or its ``.mvc``."""
    path = environment.full_path(path)
    itself = path.name == FOLDER or ((path / CONFIG).is_file() and (path / MANIFEST).is_dir())
    return path if itself else path / FOLDER


def find(start: Path, *, named: bool = False) -> Path:
    """Return the registry folder in ``start`` or the nearest above it.

    Args:
        named: The user named ``start``, so it is trusted whoever may write there.

    Raises:
        NotFound: There is none.
    """
    for folder in environment.upward(start):
        found = folder / FOLDER
        if not exists(found):
            continue
        if environment.anyone_may_write(folder) and not (named and folder == start.absolute()):
            warnings.warn(
                f"passed over '{found}': anyone may write to '{folder}'; MVC_DIR={found} uses it",
                MvcWarning,
                stacklevel=2,
            )
            continue
        return found
    raise NotFound(f"no registry in '{start.absolute()}' or above it", hint="mvc init makes one")


def exists(folder: Path) -> bool:
    """Say whether ``folder`` is a registry, or the records of one."""
    return (folder / CONFIG).is_file() or is_clone(folder)


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
    path = folder / CONFIG
    try:
        values: dict[str, Any] = lines.loads(fileio.read(path, lines.MAX_SIZE))
    except (FileNotFoundError, NotADirectoryError):
        if is_clone(folder):
            return Place(folder, "", folder / "store", "", cache=None)
        raise NotFound(f"no registry in '{folder}'", hint="mvc init makes one") from None
    except FormatError as error:
        raise FormatError(f"'{path}': {error.message}") from None
    check_version(values.get("mvc"), VERSION, f"registry '{folder}'")
    store = values.get("store")
    if not is_id(values.get("id")) or not isinstance(store, dict) or not is_id(store.get("id")):
        raise FormatError(f"'{path}' names no registry and store")
    if not isinstance(store.get("path"), str):
        raise FormatError(f"'{path}' does not say where the store is")
    place = folder / store["path"]
    return Place(folder, values["id"], place, store["id"], _cache(folder))


def create(folder: Path) -> bool:
    """Make a registry with its store in ``folder``; False if there is one already.

    It is built beside and renamed into place, so that nobody meets half of one.
    """
    if (folder / CONFIG).is_file():
        return False
    fileio.make_folder(folder.parent)
    private = fileio.private_path(folder.parent, FOLDER)
    try:
        (private / MANIFEST).mkdir(parents=True)
        store_id = Store.create(private / "store")
        values: dict[str, lines.Value] = {
            "mvc": VERSION,
            "id": new_id(),
            "store": {"path": "store", "id": store_id},
            "fallbacks": [],
        }
        fileio.replace(private / CONFIG, lines.dumps(values), durable=True)
        # Also where there is no git yet: after "git init", "git add ." would take the store.
        fileio.replace(private / ".gitignore", _IGNORED, durable=True)
        fileio.replace(private / MANIFEST / ".gitattributes", _ATTRIBUTES, durable=True)
        made = fileio.publish_folder(private, folder)
    except BaseException:
        fileio.remove_folder(private)
        raise
    if not made:
        fileio.remove_folder(private)
        if not (folder / CONFIG).is_file():
            raise MvcError(
                f"'{folder}' is there, but is no registry", hint="move it away, then mvc init"
            )
    return made


def _cache(folder: Path) -> Path | None:
    """Return a folder for disposable files, made if need be; ``None`` where none may be."""
    cache = environment.cache_folder() or folder / "cache"
    try:
        if not cache.is_dir():
            fileio.make_folder(cache)
            fileio.replace(cache / "CACHEDIR.TAG", CACHE_TAG)
    except OSError:
        return None
    return cache if os.access(cache, os.R_OK) else None
