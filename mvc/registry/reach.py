"""Reach: which objects a version needs, and which versions need an object.

Edges are: version → artifact, tree → files, file → what its recipe names,
object → the base it is kept over.

Public names: ``Held``, ``held``, ``held_of``, ``closure``, ``closure_of_file``,
``preferred``, ``files_of``, ``lacking``, ``released``, ``standings``, ``told``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mvc import tree
from mvc.digest import Digest
from mvc.errors import FormatError, MvcError, StoreMissing, StoreWarning, warn
from mvc.registry import family as families
from mvc.registry.event import Event, Standing
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.record import DIRECTORY, Artifact, Record
from mvc.tree import PLAIN, TreeFile

if TYPE_CHECKING:
    from mvc.store import Store
    from mvc.store.pack import Entry


@dataclass(frozen=True, slots=True)
class Held:
    """A version whose bytes must be in the store: every one that was not released."""

    id: str
    family: str
    number: int
    record: Record
    digest: Digest
    withdrawn: bool


def held(manifest: Manifest) -> Iterator[Held]:
    """Yield all versions that must be stored; a record that cannot be read is warned about."""
    for folder in manifest.families():
        yield from held_of(manifest, folder)


def held_of(manifest: Manifest, folder: str) -> Iterator[Held]:
    """Like ``held``, for one family."""
    family = families.load(manifest, folder)
    gone = released(manifest, family)
    for number in family.numbers(manifest):
        if number in gone:
            continue
        try:
            record, digest = manifest.record(folder, number)
        except MvcError as error:
            warn(error.message, StoreWarning)
            continue
        identity = f"{family.name}/v{number}"
        withdrawn = number in family.withdrawn
        yield Held(identity, family.name, number, record, digest, withdrawn)


def released(manifest: Manifest, family: Family) -> set[int]:
    """Return the versions whose bytes were given up by gc."""
    standing = standings(manifest, family.folder)
    return {number for number, (_, change) in standing.items() if change.kind == "released"}


def standings(manifest: Manifest, folder: str) -> dict[int, tuple[Event, Standing]]:
    """Return for each version that was ever withdrawn the last event that says how it stands.

    Nothing follows a release, whatever a merge by hand has put behind it.
    """
    last: dict[int, tuple[Event, Standing]] = {}
    for number in manifest.event_numbers(folder):
        event = manifest.event(folder, number)
        change = event.change
        if not isinstance(change, Standing):
            continue
        if change.version not in last or last[change.version][1].kind != "released":
            last[change.version] = event, change
    return last


def told(event: Event, change: Standing) -> str:
    """Say how a version stands: since when, by whom, and why if that was said."""
    why = (event.message or "").partition("\n")[0]
    return f"{change.kind} on {event.created[:10]} by {event.author}" + (f" ({why})" if why else "")


def closure(store: Store, artifact: Artifact) -> frozenset[Digest]:
    """Return every object that an artifact is made of: its tree, its files, their parts.

    Raises:
        Damaged: Its tree or a recipe is missing or damaged.
    """
    files = (closure_of_file(store, file.digest) for file in files_of(store, artifact))
    return frozenset([artifact.digest]).union(*files)


def closure_of_file(
    store: Store, digest: Digest, entry: Callable[[Digest], Entry | None] | None = None
) -> frozenset[Digest]:
    """Return a file's digest and those of the objects it is made of, with all their bases.

    Args:
        entry: Says which frame of an object counts, if it is not the preferred one.

    Raises:
        Damaged: Its recipe is missing or damaged.
    """
    entry = entry or partial(preferred, store)
    recipe = store.recipe(digest)
    waiting = [digest, *(ref.digest for ref in (recipe.objects if recipe else ()))]
    found = set(waiting)
    while waiting:
        frame = entry(waiting.pop())
        if frame and frame.base is not None and frame.base not in found:
            found.add(frame.base)
            waiting.append(frame.base)
    return frozenset(found)


def preferred(store: Store, digest: Digest) -> Entry | None:
    """Return the frame of an object that a reader prefers, of those in the store itself."""
    held = (found.entry for found in store.entries_of(digest) if found.pack.holds(found.entry))
    return next(held, None)


def files_of(store: Store | None, artifact: Artifact) -> tuple[TreeFile, ...]:
    """Return the files of an artifact; a file is the only one of its own.

    Raises:
        Damaged: The tree is missing or damaged, or is not what the record says.
        StoreMissing: The record does not list the files, and there is no store.
    """
    if artifact.kind != DIRECTORY:
        return (TreeFile(PLAIN, artifact.size, artifact.digest, artifact.name),)
    if artifact.listing is not None:
        return artifact.listing
    if store is None:
        raise StoreMissing(
            f"the files of '{artifact.name}' are listed in the store, which is not there",
            hint="mvc doctor says where it is looked for",
        )
    found = tree.decode(store.get_object(artifact.digest))
    if (len(found.files), found.size) != (artifact.files, artifact.size):
        raise FormatError(f"tree {artifact.digest.short} is not the one that its record tells of")
    return found.files


def lacking(
    store: Store,
    artifact: Artifact,
    look: Callable[[Digest, int], list[str]] | None = None,
) -> list[str]:
    """Say in words what of an artifact is missing or damaged.

    Args:
        look: Says it of one file, or of the tree, by digest and size; if not
            given, every frame is looked for.
    """
    look = look or (lambda digest, _: store.lacking(digest))
    if artifact.kind != DIRECTORY:
        return look(artifact.digest, artifact.size)
    try:
        files = files_of(store, artifact)
    except MvcError as error:
        return [error.message]
    found = look(artifact.digest, 0)
    for file in {file.digest: file for file in reversed(files)}.values():
        found = found + [f"'{file.path}': {reason}" for reason in look(file.digest, file.size)]
    return found
