"""Checkout: write a version's files where the user wants them, whole or not at all.

Bytes go to a private name; their digest must match before they get their
own. What is in the way is replaced only if it is a version's, and so can be
had again.

What is promised: ``docs/checkout.md``.
Public names: ``checkout``, ``Wish``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote

from mvc import fileio
from mvc.beneath import Folder
from mvc.errors import Conflict, UsageError
from mvc.progress import job
from mvc.registry import resolve
from mvc.registry.checkout import checkout_folder, contents, paths
from mvc.registry.checkout.known import known, paths_in_family, places_in_family
from mvc.registry.checkout.writing import Source, State, check_unchanged, mend_mode, state_of
from mvc.registry.digests import Notes
from mvc.registry.family import Family
from mvc.registry.location.place import Place, is_tools_own
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.names import model_suffix
from mvc.registry.record import DIRECTORY
from mvc.registry.selection import ALL, Selection
from mvc.registry.version import CheckedOut
from mvc.store import materialised
from mvc.tree import PLAIN, Tree, TreeFile


@dataclass(frozen=True, slots=True)
class Wish:
    """What to check out and how: version ``number``, or the file ``path`` of it alone.

    Of a directory ``selection`` says which files. ``into`` tells that ``output`` was
    written as a folder, with a slash at its end.
    """

    family: Family
    number: int
    path: str | None = None
    output: Path | None = None
    into: bool = False
    force: bool = False
    link: bool = False
    selection: Selection = ALL

    @property
    def id(self) -> str:
        return f"{self.family.name}/v{self.number}"


@dataclass(frozen=True, slots=True)
class _Done:
    target: Path
    written: bool
    size: int
    removed: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def checkout(place: Place, manifest: Manifest, presence: Presence, wish: Wish) -> CheckedOut:
    """Write a version's files. Raises as ``ModelRegistry.checkout`` says."""
    artifact = manifest.record(wish.family.folder, wish.number)[0].artifact
    notes = Notes(place.cache)
    if artifact.kind == DIRECTORY and wish.path is None:
        tree = contents.chosen(presence, artifact, wish.id, wish.selection)
        done = _checkout_folder(place, manifest, presence, wish, tree, notes)
        models = [file for file in tree.files if model_suffix(file.path)]
    elif wish.selection != ALL:
        one = f"{wish.id}:{wish.path}" if wish.path else wish.id
        hint = "--include and --exclude choose files of a version that is a folder"
        raise UsageError(f"'{one}' is one file", hint=hint)
    else:
        file = TreeFile(PLAIN, artifact.size, artifact.digest, artifact.name)
        if artifact.kind == DIRECTORY and wish.path is not None:
            file = contents.file_of(presence, artifact, wish.id, wish.path)
        modes = artifact.kind == DIRECTORY
        done = _checkout_file(place, manifest, presence, wish, file, notes, modes=modes)
        models = [file]
    alone = done.target.is_file()
    if not alone and wish.selection == ALL:
        notes.note(done.target, wish.id, artifact.digest, os.stat(done.target))
    _note(notes, wish, done.target, models, alone=alone)
    version = resolve.version_of(manifest, presence, wish.family, wish.number)
    return CheckedOut(
        **vars(version),
        path=done.target,
        written=done.written,
        removed=done.removed,
        others=done.others,
        size=done.size,
    )


def _checkout_file(
    place: Place,
    manifest: Manifest,
    presence: Presence,
    wish: Wish,
    file: TreeFile,
    notes: Notes,
    *,
    modes: bool,
) -> _Done:
    target = _file_target(file.path, wish.output, wish.into)
    _refuse_own(target, presence)
    with (
        _source(place, presence, wish, target, notes, lambda: Tree((file,))) as source,
        Folder.open(target.parent) as folder,
    ):
        state, found, digest = state_of(folder, target.name, file, source, modes=modes)
        if state is State.WRONG_MODE:
            mend_mode(folder, target.name, file)
        if state is State.OTHER and found and digest and not wish.force:
            content = digest, found.st_size
            if not known(manifest, presence.store, wish.family.folder, {content}):
                raise Conflict(
                    f"'{target}' holds something that is no version here",
                    hint="move it away, register it with mvc add, or: mvc checkout --force",
                )
        if state not in (State.RIGHT, State.WRONG_MODE):
            _replace(folder, target, file, source, found)
    return _Done(target, state is not State.RIGHT, file.size)


def _replace(
    folder: Folder, target: Path, file: TreeFile, source: Source, before: os.stat_result | None
) -> None:
    private = fileio.private_path(Path()).name
    try:
        with job(f"writing {source.identity}", file.size):
            source.write(file, folder, private)
        if before is not None:
            check_unchanged(folder, target.name, before)
        if not folder.move(private, folder, target.name, overwrite=before is not None):
            raise Conflict(f"'{target}' appeared meanwhile", hint="run the command again")
        folder.sync()
    except BaseException:
        with contextlib.suppress(OSError):
            folder.remove(private)
        raise


def _checkout_folder(
    place: Place,
    manifest: Manifest,
    presence: Presence,
    wish: Wish,
    tree: Tree,
    notes: Notes,
) -> _Done:
    target = Path(wish.family.name) if wish.output is None else wish.output
    _refuse_own(target, presence)
    size, whole = sum(file.size for file in tree.files), wish.selection == ALL
    with _source(place, presence, wish, target, notes, lambda: tree) as source:
        try:
            root = Folder.open(target, follow=False)
        except FileNotFoundError:
            _check_parent(target)
            with Folder.open(target.parent) as parent:
                fileio.run(checkout_folder.fresh_steps(parent, target.name, tree, source))
            return _Done(target, True, size)
        with root:
            where = manifest, presence.store, wish.family.folder
            doing = checkout_folder.plan(
                root,
                tree,
                source,
                known=partial(known, *where),
                # Who asks for some files keeps what else is there.
                places=partial(places_in_family, *where) if whole else lambda sizes: {},
                paths=partial(paths_in_family, *where),
                force=wish.force,
                shared=_is_project(root, place),
            )
            if not doing.is_done:
                fileio.run(checkout_folder.place_steps(root, doing, source))
    others = doing.others if whole else ()
    return _Done(target, not doing.is_done, size, tuple(sorted(doing.stale)), others)


def _is_project(folder: Folder, place: Place) -> bool:
    return os.path.samestat(os.fstat(folder.descriptor), os.stat(place.folder.parent))


@contextlib.contextmanager
def _source(
    place: Place,
    presence: Presence,
    wish: Wish,
    target: Path,
    notes: Notes,
    files: Callable[[], Tree],
) -> Iterator[Source]:
    """Give where the bytes come from: the store, or with ``link`` the cache."""
    if not wish.link:
        yield Source(presence.store, wish.id, target, notes)
        return
    ready = paths.ready(place, presence, files(), wish.id)
    with Folder.open(ready) as cached:
        yield Source(presence.store, wish.id, target, notes, cached)
    materialised.renote(ready.parent, files())


def _file_target(name: str, output: Path | None, into: bool) -> Path:
    """Return the file to write; its name, if it comes from a record, is one plain component."""
    if output is None or output.is_dir():
        if name in ("", ".", "..") or re.search(r"[/\\\x00]|^\.(git|mvc)", name, re.IGNORECASE):
            raise UsageError(f"{name!r} is no name for a file here", hint="name one: -o PATH")
        return (output or Path()) / name
    if into:
        raise UsageError(f"there is no folder '{output}'", hint=f"mkdir -p {quote(str(output))}")
    _check_parent(output)
    return output


def _check_parent(output: Path) -> None:
    if not output.parent.is_dir():
        hint = f"mkdir -p {quote(str(output.parent))}"
        raise UsageError(f"there is no folder '{output.parent}'", hint=hint)


def _refuse_own(target: Path, presence: Presence) -> None:
    """Refuse to write into a registry, a store, or what git keeps for itself."""
    if is_tools_own(target, presence.store.folder):
        raise UsageError(
            f"'{target}' lies in what belongs to mvc or git", hint="name another: -o PATH"
        )


def _note(notes: Notes, wish: Wish, target: Path, models: Iterable[TreeFile], alone: bool) -> None:
    """Note which version the model files are, so that ``status`` need not read them."""
    for file in models:
        path = target if alone else target / file.path
        with contextlib.suppress(OSError):
            notes.note(path, wish.id, file.digest, os.stat(path))
    notes.save()
