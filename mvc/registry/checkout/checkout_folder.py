"""Checkout of a directory, over whatever is there.

``plan`` looks and changes nothing: what is right already, what is written,
what an older version left. Then everything is written beneath a private name
and moved from there. No name is followed through a link, and what is not a
version's is never touched.

The order of writes: ``docs/invariants.md``. What is replaced: ``docs/checkout.md``.
Public names: ``Plan``, ``plan``, ``place_steps``, ``fresh_steps``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from mvc import fileio
from mvc.beneath import Folder, holding, remove_all, walk
from mvc.durability import Together
from mvc.errors import Conflict
from mvc.fileio import Steps
from mvc.progress import job
from mvc.registry.checkout.known import Content
from mvc.registry.checkout.writing import (
    Source,
    State,
    check_unchanged,
    digest_in,
    mend_mode,
    state_of,
)
from mvc.registry.digests import Notes
from mvc.store.fetch import each
from mvc.tree import Tree, TreeFile, is_own


@dataclass(frozen=True, slots=True)
class Plan:
    """What a checkout over a folder will do.

    ``write`` are the files to make; ``over`` is what stands where some of them
    go and may be replaced; ``modes`` are right but for their mode; ``stale``
    is what another version of the family left; ``emptied`` are folders that
    give way to a file; ``others`` are files that are nobody's business here.
    """

    write: tuple[TreeFile, ...]
    over: Mapping[str, os.stat_result]
    modes: tuple[TreeFile, ...]
    stale: Mapping[str, os.stat_result]
    emptied: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def is_done(self) -> bool:
        return not (self.write or self.modes or self.stale)


@dataclass(slots=True)
class _Look:
    """What was found in a folder, path by path."""

    found: dict[str, os.stat_result]
    write: list[TreeFile] = field(default_factory=list)
    modes: list[TreeFile] = field(default_factory=list)
    over: dict[str, os.stat_result] = field(default_factory=dict)
    unsure: dict[str, Content] = field(default_factory=dict)
    emptied: list[str] = field(default_factory=list)


def plan(
    root: Folder,
    tree: Tree,
    source: Source,
    *,
    known: Callable[[set[Content]], set[Content]],
    places: Callable[[Mapping[str, int]], Mapping[str, set[Content]]],
    paths: Callable[[], Iterable[str]],
    force: bool,
    shared: bool,
) -> Plan:
    """Compare a folder with a tree.

    Args:
        known: Which contents can be had again.
        places: What other versions of the family have at paths of given sizes.
        paths: Every path that a version of the family has.
        force: Whether files with other contents may be replaced.
        shared: Whether it is a folder where other things are expected.

    Raises:
        Conflict: Something is in the way that may not be replaced, or the
            folder is somebody else's.
    """
    if not (force or shared):
        _check_folder(root, tree, source, paths)
    look = _Look(dict(walk(root, is_own)))
    _look_at_files(look, root, tree, source)
    stale = _stale(look, root, tree, source.notes, known, places)
    _check_way(look, root, tree, stale)
    if look.unsure and not force:
        sure = known(set(look.unsure.values()))
        lost = sorted(path for path, content in look.unsure.items() if content not in sure)
        if lost:
            more = f", and {len(lost) - 1} more," if len(lost) > 1 else ""
            raise Conflict(
                f"'{root.path / lost[0]}'{more} holds something that is no version here",
                hint="move it away, register it with mvc add, or: mvc checkout --force",
            )
    wanted = {file.path for file in tree.files}
    others = sorted(
        path
        for path, found in look.found.items()
        if not stat.S_ISDIR(found.st_mode) and path not in wanted and path not in stale
    )
    return Plan(
        write=tuple(look.write),
        over=look.over,
        modes=tuple(look.modes),
        stale=stale,
        emptied=tuple(look.emptied),
        others=tuple(others),
    )


def fresh_steps(parent: Folder, name: str, tree: Tree, source: Source) -> Steps[None]:
    """Make a folder that is not there: under a private name, then renamed, wholly or not at all."""
    private = fileio.private_path(Path()).name
    try:
        with parent.make(private) as staging:
            together = _write_all(staging, tree.files, source)
            if not together.at_once:
                _sync_folders(staging, _folders_above(file.path for file in tree.files))
            together.finish()
        yield "files written"
        try:
            parent.move(private, parent, name, overwrite=True)
        except OSError as error:
            if parent.status(name) is None:
                raise
            raise Conflict(
                f"'{source.target}' appeared meanwhile", hint="run the command again"
            ) from error
        yield "folder named"
        parent.sync()
        yield "durable"
    finally:
        remove_all(parent, private)


def place_steps(root: Folder, doing: Plan, source: Source) -> Steps[None]:
    """Carry a plan out. Until all is written nothing that is there changes."""
    private = fileio.private_path(Path()).name
    try:
        with root.make(private) as staging:
            _write_all(staging, doing.write, source).finish()
            yield "files written"
            _remove_stale(root, doing)
            yield "others removed"
            for file in doing.write:
                _move(file, staging, root, doing.over.get(file.path))
        for file in doing.modes:
            with holding(root, file.path) as (folder, name):
                mend_mode(folder, name, file)
        yield "files placed"
    finally:
        remove_all(root, private)
    _sync_folders(root, _folders_above([*doing.stale, *(file.path for file in doing.write)]))
    yield "durable"


def _check_folder(
    root: Folder, tree: Tree, source: Source, paths: Callable[[], Iterable[str]]
) -> None:
    """Refuse a folder with other things only, such as a home, before all in it is looked at."""
    if all(is_own(name) for name in os.listdir(root.descriptor)):
        return
    # Those of the version itself first: they are there already, in most cases.
    if any(_stands(root, path) for path in chain((file.path for file in tree.files), paths())):
        return
    family = source.identity.rpartition("/")[0]
    raise Conflict(
        f"'{root.path}' is not empty and holds nothing of '{family}'",
        hint="name another folder: -o PATH; or write beside what is there: mvc checkout --force",
    )


def _stands(root: Folder, path: str) -> bool:
    try:
        with holding(root, path) as (folder, name):
            return folder.status(name) is not None
    except Conflict:  # something else is on the way there, which is told of later
        return True
    except OSError:
        return False


def _look_at_files(look: _Look, root: Folder, tree: Tree, source: Source) -> None:
    standing = []
    for file in tree.files:
        found = look.found.get(file.path)
        if found is None or stat.S_ISDIR(found.st_mode):
            look.write.append(file)
        else:
            standing.append(file)

    def compare(file: TreeFile) -> None:
        with holding(root, file.path) as (folder, name):
            state, found, digest = state_of(folder, name, file, source, modes=True)
        if state is State.WRONG_MODE:
            look.modes.append(file)
        elif state is not State.RIGHT:
            look.write.append(file)
        if found is not None and state in (State.OTHER, State.NOT_OWN):
            look.over[file.path] = found
        if state is State.OTHER and found is not None and digest is not None:
            look.unsure[file.path] = digest, found.st_size

    each(standing, compare)


def _stale(
    look: _Look,
    root: Folder,
    tree: Tree,
    notes: Notes,
    known: Callable[[set[Content]], set[Content]],
    places: Callable[[Mapping[str, int]], Mapping[str, set[Content]]],
) -> dict[str, os.stat_result]:
    """Return what another version of the family left here: its bytes at its path, unchanged."""
    wanted = {file.path for file in tree.files}
    sizes = {
        path: found.st_size
        for path, found in look.found.items()
        if path not in wanted and stat.S_ISREG(found.st_mode)
    }
    left: dict[str, Content] = {}
    for path, contents in (places(sizes) if sizes else {}).items():
        with holding(root, path) as (folder, name):
            content = digest_in(folder, name, notes), sizes[path]
        if content in contents:
            left[path] = content
    sure = known(set(left.values())) if left else set()
    return {path: look.found[path] for path, content in left.items() if content in sure}


def _check_way(look: _Look, root: Folder, tree: Tree, stale: Mapping[str, os.stat_result]) -> None:
    """Refuse where a folder must be and something else stays, or a file and a folder stays."""
    for path in _folders_above(file.path for file in tree.files):
        found = look.found.get(path)
        if found is None or stat.S_ISDIR(found.st_mode) or path in stale:
            continue
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "a file"
        raise Conflict(
            f"'{root.path / path}' is {kind} where a folder must be",
            hint="move it away, or name another folder: -o PATH",
        )
    for file in look.write:
        found = look.found.get(file.path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            continue
        inside = (path for path in look.found if path.startswith(f"{file.path}/"))
        if any(not stat.S_ISDIR(look.found[path].st_mode) and path not in stale for path in inside):
            raise Conflict(
                f"'{root.path / file.path}' is a folder where a file must be",
                hint="move it away, or name another folder: -o PATH",
            )
        look.emptied += [path for path in look.found if f"{path}/".startswith(f"{file.path}/")]


def _write_all(staging: Folder, files: Sequence[TreeFile], source: Source) -> Together:
    """Write files beneath a folder that holds nothing else, so what is taken there is a clash.

    Returns:
        What makes them durable, if each is not yet.

    Raises:
        Conflict: The file system takes two of their names for one.
    """
    together = Together(staging.descriptor, len(files))
    for path in _folders_above(file.path for file in files):
        if path:
            with holding(staging, path) as (folder, name):
                if folder.status(name) is not None:
                    raise _clash(path, source)
                folder.make(name).close()

    def write(file: TreeFile) -> None:
        try:
            with holding(staging, file.path) as (folder, name):
                label = f"'{file.path}': "
                source.write(file, folder, name, label=label, together=together)
        except FileExistsError:
            raise _clash(file.path, source) from None

    with job(f"writing {source.identity}", sum(file.size for file in files)):
        each(files, write)
    return together


def _clash(path: str, source: Source) -> Conflict:
    return Conflict(
        f"the file system of '{source.target}' cannot hold '{path}' apart from another name",
        hint=f"check {source.identity} out elsewhere: -o PATH; nothing was changed",
    )


def _remove_stale(root: Folder, doing: Plan) -> None:
    for path, before in doing.stale.items():
        with holding(root, path) as (folder, name):
            check_unchanged(folder, name, before)
            folder.remove(name)
    wanted = set(_folders_above(file.path for file in (*doing.write, *doing.modes)))
    empty = {*_folders_above(doing.stale), *doing.emptied} - wanted
    for path in sorted(empty, key=len, reverse=True):
        with holding(root, path) as (folder, name):
            folder.remove_empty(name)


def _move(file: TreeFile, staging: Folder, root: Folder, before: os.stat_result | None) -> None:
    with (
        holding(staging, file.path) as (source, its_name),
        holding(root, file.path, make=True) as (folder, name),
    ):
        if before is not None:
            check_unchanged(folder, name, before)
        if not source.move(its_name, folder, name, overwrite=before is not None):
            path = root.path / file.path
            raise Conflict(
                f"'{path}' appeared meanwhile, or is another name for what is there",
                hint="run the command again, or name another folder: -o PATH",
            )


def _folders_above(paths: Iterable[str]) -> list[str]:
    """Return every folder that the paths lie in, "" too, those above first."""
    found = {""}
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return sorted(found)


def _sync_folders(root: Folder, paths: Iterable[str]) -> None:
    for path in paths:
        try:
            with holding(root, f"{path}/." if path else ".") as (folder, _):
                folder.sync()
        except (FileNotFoundError, Conflict):  # went with what was in it, or a file has its name
            continue
