"""What came by git: versions here that only another registry has rooted in our store.

Their records came with a pull; on a shared store their bytes are there, kept
for whoever added them. A root under our own id keeps them for us as well.
So that nothing is read when nothing came, a stamp of the folders of versions
is noted beside ``config.yaml``, outside git.

Public names: ``Stamps``, ``needed``, ``root_pulled``, ``note_added``, ``is_pending``,
``is_kept_by_others``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from mvc import fileio, lines
from mvc.compatibility import FORMAT
from mvc.digest import digest_of
from mvc.errors import Damaged, MvcError, NotPermitted
from mvc.registry.location.place import Place
from mvc.registry.manifest import Manifest
from mvc.registry.names import folder_of
from mvc.registry.reach import held_of
from mvc.store import Store, roots
from mvc.store.settings import ROOTS, is_id, read_note, root_name

FILE = "rooted.yaml"

# Of each family: how many versions, and inode and time of their folder.
Stamps: TypeAlias = dict[str, tuple[int, ...]]


def needed(
    manifest: Manifest, folders: Iterable[str] | None = None, *, strict: bool = True
) -> Iterator[str]:
    """Yield the names of the roots of all versions that must be stored.

    Args:
        folders: The families to look at; all if not given.
        strict: Whether a family of which an event cannot be read is an error, or passed over.
    """
    for folder in manifest.families() if folders is None else folders:
        try:
            for version in held_of(manifest, folder):
                yield root_name(manifest.record_bytes(version.family, version.number))
        except MvcError:
            if strict:
                raise


def root_pulled(
    place: Place, manifest: Manifest, store: Store, *, always: bool = False
) -> Stamps | None:
    """Root under our id what is here and others alone have rooted.

    Args:
        always: Look at every record even if the noted stamp says that nothing came.

    Returns:
        The stamps of what is rooted; ``None`` where nobody else is on the store.

    Raises:
        Busy: A collector was faster; run it again.
        Damaged: A record's events, or the others' root, cannot be read.
    """
    if not any(is_id(n) and n != place.id for n in fileio.list_folder(store.folder / ROOTS)):
        return None
    stamps = _stamps(manifest)
    if not always and _noted(place) == _stamp(place, store, stamps):
        return stamps
    names = sorted(set(needed(manifest, stamps)))
    fileio.run(roots.root_again(store, place.id, names))
    every = {known.registry: known.names for known in roots.registries(store)}
    own = every.pop(place.id, frozenset())
    left = frozenset(names).intersection(frozenset().union(*every.values())) - own
    if left:
        raise Damaged(
            f"{len(left)} versions here are kept by another registry's roots, which cannot be read",
            hint="mvc fsck says more",
        )
    _note(place, store, stamps)
    return stamps


def is_pending(place: Place, manifest: Manifest, store: Store) -> bool:
    """Say whether versions may have come since ``root_pulled`` last rooted what is here."""
    return _noted(place) != _stamp(place, store, _stamps(manifest))


def is_kept_by_others(place: Place, store: Store, record: bytes) -> bool:
    """Say whether another registry has a whole root of a record, and we have none at all."""
    top, name = store.folder / ROOTS, root_name(record)
    if (top / place.id / name).exists():
        return False
    for registry in filter(is_id, fileio.list_folder(top)):
        with contextlib.suppress(MvcError, OSError):
            if fileio.read(top / registry / name, lines.MAX_SIZE) == record:
                return True
    return False


def note_added(
    place: Place, manifest: Manifest, store: Store, before: Stamps | None, family: str
) -> None:
    """Bring the note up to date after our own version, if nothing else came meanwhile."""
    if before is None:
        return
    with contextlib.suppress(MvcError, OSError):  # the version is there, whatever becomes of this
        now, name = _stamps(manifest), folder_of(family)
        ours, count = now.get(name, (0,)), before.get(name, (0,))[0] + 1
        if now == {**before, name: ours} and ours[0] == count:
            _note(place, store, now)


def _stamps(manifest: Manifest) -> Stamps:
    """Return those of all families but what may not be looked into: gc stops at that."""
    found: Stamps = {}
    for name in manifest.families():
        with contextlib.suppress(NotPermitted):
            found[name] = (len(manifest.numbers(name)), *manifest.stamps(name)[:2])
    return found


def _stamp(place: Place, store: Store, stamps: Stamps) -> str:
    return str(digest_of(repr((place.id, store.id, sorted(stamps.items()))).encode()))


def _noted(place: Place) -> object:
    with contextlib.suppress(MvcError, OSError):
        return (read_note(place.folder / FILE) or {}).get("stamp")
    return None


def _note(place: Place, store: Store, stamps: Stamps) -> None:
    """Note what is rooted. If it fails, everything is looked at again."""
    with contextlib.suppress(MvcError, OSError):
        values: dict[str, lines.Value] = {"mvc": FORMAT, "stamp": _stamp(place, store, stamps)}
        fileio.replace(place.folder / FILE, lines.dumps(values))
        _keep_from_git(place.folder / ".gitignore")


def _keep_from_git(ignored: Path) -> None:
    """Tell git to leave the note out, where a registry was made before there was one."""
    data, line = fileio.read(ignored, lines.MAX_SIZE), f"/{FILE}".encode()
    if line not in data.splitlines():
        fileio.replace(ignored, data.rstrip(b"\n") + b"\n" + line + b"\n", durable=True)
