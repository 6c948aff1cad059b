"""Founding: how a registry is made, and how one that is there is told from a copy of it.

A registry is built beside its place and renamed, so that nobody meets half
of one. A clone that git made has a manifest and no settings; it gets a store
and, last, its ``config.yaml``. A copied registry takes an id of its own
before it first writes: two that share one store must not give up each
other's roots.

Steps and what a kill after each leaves: ``docs/relocation.md``.
Public names: ``create``, ``settle_copy``.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from shlex import quote

from mvc import fileio, lines
from mvc.compatibility import FORMAT
from mvc.errors import Busy, Conflict, MvcError, NotFound, UsageError
from mvc.fileio import Steps
from mvc.registry.location import place as places
from mvc.registry.location.place import CONFIG, FOLDER, MANIFEST, Place
from mvc.registry.location.pulled import needed
from mvc.registry.manifest import Manifest
from mvc.store import Store, roots
from mvc.store.naming import check_place
from mvc.store.settings import (
    PACKS,
    SETTINGS,
    STAGING,
    TRASH,
    identity_of,
    is_id,
    is_vacant,
    moved_to,
    new_id,
    read_note,
)

_CLAIM = re.compile(r"identity-[0-9]+\.yaml\Z")
# From the root, where a family may have the same name: manifest/store is for git.
_IGNORED = (
    b"/config.yaml\n/newest.yaml\n/rooted.yaml\n/identity-*.yaml\n"
    b"/store/\n/cache/\nfamily.yaml\n.mvc-new-*\n"
)
# git must neither convert line ends nor merge inside a sealed file.
_ATTRIBUTES = b"* -text -merge\n"


def create(folder: Path, store: Path | None = None) -> bool:
    """Make a registry in ``folder``; False if there is one already, and stays as it is.

    Args:
        store: Where its store is to be, or is already; inside the registry by default.
            A registry that is there takes it instead of an empty one.

    Raises:
        Conflict: Something else is in the way, or the registry has its store elsewhere.
    """
    if store is not None and store == folder / "store":
        store = None
    if store is not None and folder in store.parents:
        raise UsageError(f"'{store}' lies inside the registry", hint="leave out --store")
    filled = any(fileio.list_folder(folder))  # before the looks below: one may be made meanwhile
    if places.is_clone(folder):
        return _adopt(folder, store)
    if places.exists(folder):
        return store is not None and _take_instead(places.read(folder), store)
    if filled:
        raise _no_registry(folder)
    check_place(folder.parent)
    fileio.make_folder(folder.parent)
    store_id = None if store is None else _attach(store)
    private = fileio.private_path(folder.parent, FOLDER)
    try:
        fileio.make_folder(private / MANIFEST)
        where = folder / "store" if store is None else store
        store_id = store_id or Store.create(private / "store")
        _write_settings(folder, private, where, store_id)
        _keep_git_away(private)
        made = fileio.publish_folder(private, folder)
    except BaseException:
        fileio.remove_folder(private)
        raise
    if made:
        return True
    fileio.remove_folder(private)
    if not places.exists(folder):
        raise _no_registry(folder)
    return store is not None and _take_instead(places.read(folder), store)


def settle_copy(place: Place, manifest: Manifest, store: Store) -> Steps[None]:
    """Give a copied registry an id of its own, with roots for all it has; ``config.yaml`` is last.

    That is all that was rooted under the old id: what is on another branch of
    git, or cannot be read just now, is not to be given up either. Of several
    that begin this at once, all take the id of whoever was first.
    """
    inode = places.inode_of(place.folder)
    claim = place.folder / f"identity-{inode}.yaml"
    for name in fileio.list_folder(place.folder):
        if _CLAIM.match(name) and name != claim.name:  # came along from what was copied
            fileio.remove(place.folder / name)
    data = lines.dumps({"mvc": FORMAT, "id": new_id()})
    yield from fileio.create_once(claim, data, place.folder)
    identity: str = (read_note(claim) or {}).get("id", "")
    if is_id(identity) and places.read(place.folder).inode != inode:
        every = {known.registry: known.names for known in roots.registries(store)}
        names = sorted({*every.get(place.id, ()), *needed(manifest, strict=False)})
        yield from roots.root_again(store, identity, names)
        places.change(place.folder, id=identity, inode=inode)
        yield "identity changed"
    fileio.remove(claim)


def _adopt(folder: Path, store: Path | None) -> bool:
    """Give a manifest that has no settings a store and, last, its ``config.yaml``."""
    where = store or folder / "store"
    store_id = _attach(where)
    opened = Store(where, store_id)
    identity = new_id()
    fileio.run(roots.root_again(opened, identity, needed(Manifest(folder / MANIFEST))))
    _keep_git_away(folder)
    settings = places.settings_for(folder, identity, places.inode_of(folder), where, store_id)
    made = fileio.run(fileio.create_once(folder / CONFIG, settings, folder))
    if made:
        return True
    fileio.run(roots.unroot(opened, identity))  # somebody else made them, under another id
    return store is not None and _take_instead(places.read(folder), store)


def _no_registry(folder: Path) -> MvcError:
    return MvcError(f"'{folder}' is there, but is no registry", hint="move it away, then mvc init")


def _attach(store: Path) -> str:
    """Return the id of the store in a folder, making one where there is nothing."""
    try:
        identity = identity_of(store)
    except NotFound:
        check_place(store)
        try:
            return Store.create(store)
        except Conflict:
            with contextlib.suppress(NotFound):  # somebody may have made one meanwhile
                return identity_of(store)
            raise
    target = moved_to(store)
    if target is not None:
        raise Conflict(f"the store in '{store}' was moved", hint=f"it is to be in '{target}'")
    return identity


def _take_instead(place: Place, store: Path) -> bool:
    """Give a registry whose own store is empty the one in ``store``; False if it has that.

    Steps: roots in it for what is here, then ``config.yaml``, as for a clone.
    """
    if store == place.store_path:
        return False
    if not _is_empty(place):
        said = f"the registry is there, and has its store in '{place.store_path}'"
        typed = quote(str(store))
        if (store / SETTINGS).exists():
            remedy = f"mvc store alternates --add {typed} reads from the one there, too"
        elif is_vacant(store):
            remedy = f"mvc store move {typed} takes it there"
        else:
            remedy = "mvc store move PATH takes it to an empty folder, or a new one"
        raise Conflict(said, hint=remedy)
    text = places.path_text(place.folder, store)
    store_id = _attach(store)
    names = needed(Manifest(place.manifest), strict=False)
    fileio.run(roots.root_again(Store(store, store_id), place.id, names))
    places.change(place.folder, store={"path": text, "id": store_id})
    if not _is_empty(place):
        old = {"path": places.path_text(place.folder, place.store_path), "id": place.store_id}
        places.change(place.folder, store=old)
        hint = "the store stays where it is; mvc log shows what was added"
        raise Busy(f"somebody adds to '{place.store_path}' just now", hint=hint)
    return True


def _is_empty(place: Place) -> bool:
    """Say whether a registry's store is where its settings say, and nobody has put in anything."""
    folder = place.store_path
    try:
        here = identity_of(folder) == place.store_id and moved_to(folder) is None
    except MvcError:
        return False
    packs = (fileio.list_folder(folder / name) for name in (PACKS, STAGING, TRASH))
    return here and not any(map(any, packs)) and not roots.registries(Store(folder, place.store_id))


def _write_settings(folder: Path, private: Path, store: Path, store_id: str) -> None:
    inode = places.inode_of(private)  # a rename keeps it
    settings = places.settings_for(folder, new_id(), inode, store, store_id)
    fileio.replace(private / CONFIG, settings, durable=True)


def _keep_git_away(folder: Path) -> None:
    """Tell git what is not its own, even where there is none yet: ``git init`` may follow."""
    for name, data in {".gitignore": _IGNORED, f"{MANIFEST}/.gitattributes": _ATTRIBUTES}.items():
        if not (folder / name).exists():
            fileio.replace(folder / name, data, durable=True)
