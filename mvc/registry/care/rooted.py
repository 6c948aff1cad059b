"""Rooted: the records that a store keeps for every registry, from which gc marks.

Reading them fails closed: one that cannot be read may name what somebody
needs, so nothing is collected before it is understood.

Public names: ``Root``, ``roots``, ``root_of``, ``needs_of``, ``is_of``, ``copied_over``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mvc import environment, fileio, lines
from mvc.digest import Digest
from mvc.errors import Damaged, MvcError, Unsupported
from mvc.registry import record as records
from mvc.registry.reach import Held
from mvc.registry.record import DIRECTORY, Record
from mvc.store import Store
from mvc.store.mark import Need
from mvc.store.settings import ROOTS, is_id, root_name
from mvc.system_errors import in_words

_ADVICE = "mvc fsck says more; nothing is removed before everything can be read"


@dataclass(frozen=True, slots=True, eq=False)
class Root:
    """A record's copy in the store, and whose it is."""

    registry: str
    path: Path
    record: Record


def roots(store: Store) -> list[Root]:
    """Return the roots of all registries.

    Raises:
        Damaged: One cannot be read, or something else lies among them.
        MvcError: One may not be read.
        Unsupported: A newer mvc wrote one.
    """
    found = []
    top = store.folder / ROOTS
    for registry in sorted(fileio.list_folder(top)):
        if not (top / registry).is_dir():  # lost+found and the like are folders, and refused below
            continue
        for name in sorted(_names(top / registry)):
            if name.endswith(".yaml"):
                if not is_id(registry):
                    raise Damaged(f"'{top / registry}' is no registry's", hint=_ADVICE)
                if root := _read(registry, top / registry / name):
                    found.append(root)
    return found


def root_of(store: Store, registry: str, record: Digest) -> Root | None:
    """Return the root of one record, as of now. Raises as ``roots`` does."""
    return _read(registry, store.folder / ROOTS / registry / f"{record.hex()}.yaml")


def needs_of(found: Iterable[Root]) -> list[Need]:
    """Return what roots need of their store."""
    artifacts = [root.record.artifact for root in found]
    return [Need(artifact.digest, tree=artifact.kind == DIRECTORY) for artifact in artifacts]


def is_of(path: Path, family: str) -> bool:
    """Say whether a root is a whole one, of a version of a family."""
    return _of(path, family) is not None


def copied_over(folder: Path, names: Iterable[str], one: Held, other: Held) -> Held | None:
    """Of two versions with one record say which had another, if ``names`` have it as a root."""
    for name in names:
        if kept := _of(folder / name, one.family):
            return one if kept.created < one.record.created else other
    return None


def _of(path: Path, family: str) -> Record | None:
    """Return the record of a whole root if it is of a family."""
    with contextlib.suppress(OSError, MvcError):
        found = records.decode(fileio.read(path, lines.MAX_SIZE))
        return found if found.family.lower() == family.lower() else None
    return None


def _names(folder: Path) -> list[str]:
    try:
        return list(fileio.list_folder(folder))
    except PermissionError:
        raise _closed(folder) from None


def _closed(path: Path) -> MvcError:
    """Say whose it is: what a colleague's umask keeps to its owner is no damage."""
    store = next(above.parent for above in path.parents if above.name == ROOTS)
    owner = environment.owner_of(path)
    return MvcError(
        f"'{path}' may not be read, and is {owner}'s: what it keeps is not known, so nothing "
        "is removed",
        hint=f"to be run by {owner}: chmod -R a+rX '{store}'; and umask 002 from then on",
    )


def _read(registry: str, path: Path) -> Root | None:
    try:
        data = fileio.read(path, lines.MAX_SIZE)
        record = records.decode(data)
    except FileNotFoundError:  # another gc has released it meanwhile
        return None
    except Unsupported as error:
        raise Unsupported(
            f"root '{path}' cannot be read: {error.message}", hint=error.hint
        ) from None
    except PermissionError:
        raise _closed(path) from None
    except (MvcError, OSError) as error:
        raise Damaged(f"root '{path}' cannot be read: {in_words(error)}", hint=_ADVICE) from None
    if root_name(data) != path.name:
        raise Damaged(f"root '{path}' does not bear its digest", hint=_ADVICE)
    return Root(registry, path, record)
