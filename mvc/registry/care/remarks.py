"""Remarks: what a check mentions though nothing is damaged by it.

Public names: ``MENDS``, ``way_on``, ``ways_back``, ``copying``, ``of_pulled``, ``of_borrowed``,
``of_others``, ``leftovers``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from shlex import quote

from mvc import environment, fileio
from mvc.errors import MvcError, Unsupported
from mvc.lines import MAX_SIZE, unseal
from mvc.registry import event as events
from mvc.registry import record as records
from mvc.registry.care.vanished import Vanished
from mvc.registry.manifest import Manifest
from mvc.registry.reach import Held
from mvc.store import Store
from mvc.store.alternates import reachable
from mvc.store.roots import registries, rooted
from mvc.store.settings import QUARANTINE, STAGING, TRASH, root_name

MENDS = "mvc fsck --repair"
MOST_ROOTS_SHOWN = 10


def way_on(where: Path, roots: Path | None = None) -> str:
    """Say what to do about an event, or a record, that cannot be read and has no copy here.

    One whose seal holds is what somebody wrote, and no reader ever understood it: it may be
    put aside, with a record's root, since nothing was ever built on it.
    """
    remedy = "put the file back from a copy (git, a backup)"
    read = partial(events.decode, number=0) if roots is None else records.decode
    try:
        data = fileio.read(where, MAX_SIZE)
        unseal(data)
    except (MvcError, OSError):
        return remedy
    try:
        read(data)
    except Unsupported as error:
        return error.hint or remedy
    except MvcError:
        files = [where, *([] if roots is None else [roots / root_name(data)])]
        there = [str(file) for file in files if file.exists()]
        aside = " && ".join(f"mv -n {quote(name)} {quote(f'{name}.unread')}" for name in there)
        return f"{remedy}; if there is none, go on without it: {aside}"
    return remedy


def ways_back(manifest: Manifest, roots: int, found: Sequence[Vanished]) -> Iterator[str]:
    """Say of the first roots without a version what they are, and how to make them one again."""
    have = "root in the store has" if roots == 1 else "roots in the store have"
    in_git = environment.in_git(manifest.folder)
    other = "another git branch" if in_git else "'.mvc' was put back from an older copy"
    yield f"{roots} {have} no version here: {other}, or an add was cut off"
    for each in found[:MOST_ROOTS_SHOWN]:
        record, where = each.record, manifest.record_path(each.record.family, each.number)
        what = f"{record.family}, '{record.artifact.name}' of {record.created[:10]}"
        yield f"{what}: {copying(each, where)} makes it v{each.number}"
    if found:
        git = "; what was deleted by mistake and is in git: git checkout -- '{}'"
        more = git.format(manifest.folder) if in_git else ""
        yield f"{MENDS} --lost-records makes each of them a version{more}"


def copying(found: Vanished, where: Path) -> str:
    """Return the command that makes a root a version again."""
    folder = "" if where.parent.is_dir() else f"mkdir -p '{where.parent}' && "
    return f"{folder}cp -n '{found.root}' '{where}'"


def of_pulled(versions: Sequence[str]) -> str:
    """Say of versions that git brought who keeps their bytes until something is written here."""
    what = f"{len(versions)} versions are" if len(versions) > 1 else f"{versions[0]} is"
    more = f": {', '.join(versions)}" if len(versions) > 1 else ""
    return (
        f"{what} kept only for others on this store, until the next mvc add, tag or gc here{more}"
    )


def of_borrowed(store: Store, borrowed: Sequence[Held]) -> Iterator[str]:
    """Say how many versions have their bytes in another store, and which nobody keeps there."""
    if not borrowed:
        return
    versions = "1 version is" if len(borrowed) == 1 else f"{len(borrowed)} versions are"
    yield f"{versions} read from an alternate; {MENDS} brings the bytes here"
    others = [other.path for other in reachable(store.folder) if other.problem is None]
    with contextlib.suppress(PermissionError):  # whose roots may not be read may have them
        kept = {name for other in others for name in rooted(other)}
        loose = [each.id for each in borrowed if f"{each.digest.hex()}.yaml" not in kept]
        if loose:
            names, more = ", ".join(loose[:MOST_ROOTS_SHOWN]), len(loose) - MOST_ROOTS_SHOWN
            names += f" and {more} more" if more > 0 else ""
            yield (
                f"no registry keeps {names} in the alternate any longer, so mvc gc gives the "
                f"bytes up there; {MENDS} brings them here"
            )


def of_others(store: Store, own: str) -> Iterator[str]:
    """Say to a registry without versions what others keep in its store: one may be its own past."""
    others = [known for known in registries(store) if known.registry != own]
    if not others:
        return
    versions = sum(known.count for known in others)
    what = f"{versions} version{'s' if versions > 1 else ''}"
    mends = f"{MENDS} --lost-records-of"
    if len(others) == 1:
        yield (
            f"another registry keeps {what} in this store; if it was yours and its .mvc is lost: "
            f"{mends} {others[0].registry} brings them back"
        )
    else:
        yield (
            f"{len(others)} registries keep {what} in this store; if one was yours and its .mvc "
            f"is lost: {mends} ID brings them back; mvc store info lists the ids"
        )


def leftovers(store: Store) -> Iterator[str]:
    """Say what lies in a store that is on its way in or out, or was put aside."""
    for name, one, several in (
        (STAGING, "unfinished transaction", "unfinished transactions"),
        (TRASH, "pack on its way out", "packs on their way out"),
        (QUARANTINE, "quarantined file", "quarantined files"),
    ):
        count = len(list(fileio.list_folder(store.folder / name)))
        if count:
            yield f"{count} {one if count == 1 else several} in '{store.folder / name}'"
