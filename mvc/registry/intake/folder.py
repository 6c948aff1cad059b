"""A user's folder: its files are listed once, then read; nothing of it is ever changed.

Links to files are read through, as a snapshot in a cache of models is all
links. What else is no regular file is refused rather than passed over: a
version lacks nothing that nobody was told of.

What is taken, and what the globs mean: ``docs/folders.md``.
Public names: ``FolderFile``, ``SourceFolder``.
"""

from __future__ import annotations

import glob
import os
import shlex
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from mvc import tree
from mvc.digest import Digest
from mvc.errors import Conflict, FormatError, MvcError, UsageError
from mvc.registry.digests import Note, Notes, stamp
from mvc.registry.intake.source import SourceFile, explained, kind_of, name_of
from mvc.registry.names import LEFT_OUT, model_suffix
from mvc.registry.selection import Selection
from mvc.tree import Tree, TreeFile

# Of how many files of a folder it is noted which version they are.
MOST_NOTED = 1000
# No name: what the selection does not take is counted under it.
_EXCLUDED = ""
_NO_DIGEST = Digest(bytes(32))


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A file as it was when listed; ``path`` is relative to the folder."""

    path: str
    status: os.stat_result

    @property
    def mode(self) -> int:
        """Return what a tree keeps of the mode: whether the owner may run it."""
        return tree.EXECUTABLE if self.status.st_mode & stat.S_IXUSR else tree.PLAIN

    @property
    def stamp(self) -> tuple[int, ...]:
        return *stamp(self.status), self.mode


class SourceFolder:
    """A folder's files, as they were when it was listed.

    ``left_out`` counts by name what is never taken, also the folder ``own``;
    ``excluded`` counts what the selection does not take.

    Raises (when made):
        NotFound: A link in it leads nowhere.
        UsageError: Something in it is neither file nor folder, or has a name
            that cannot be kept; or no file is left.
        OSError: It may not be read.
    """

    def __init__(self, path: Path, selection: Selection, own: Path | None = None) -> None:
        self.path = path
        self._own = os.stat(own) if own else None
        self.name = name_of(Path(os.path.abspath(path)))
        self._selection = selection
        passed: Counter[str] = Counter()
        self.files = tuple(sorted(self._walk(passed), key=lambda file: os.fsencode(file.path)))
        self.excluded = passed.pop(_EXCLUDED, 0)
        self.left_out = passed
        self.notes: dict[str, Note] = {}
        self.size = sum(file.status.st_size for file in self.files)
        if not self.files:
            raise self._empty()
        self._check_names()

    @property
    def models(self) -> tuple[FolderFile, ...]:
        """Return the files of which it is noted what they are: models, unless very many."""
        found = (f for f in self.files if model_suffix(f.path))
        return tuple(islice(found, MOST_NOTED))

    def settle(self, notes: Notes) -> None:
        """Make sure, before they are read, that it can be noted what the models are.

        Raises:
            Conflict: One is not the file that was listed.
        """
        settled = {}
        for file in self.models:
            with self.open(file) as source:
                source.settle(notes)
                settled[file.path] = replace(file, status=source.status)
                if source.note is not None:
                    self.notes[file.path] = source.note
        self.files = tuple(settled.get(file.path, file) for file in self.files)

    @property
    def modified(self) -> int:
        """Return when the newest file was written, in nanoseconds."""
        return max(file.status.st_mtime_ns for file in self.files)

    def open(self, file: FolderFile) -> SourceFile:
        """Open one of the files.

        Raises:
            Conflict: It is not the one that was listed.
        """
        try:
            source = SourceFile(self.path / file.path)
        except (MvcError, OSError):
            raise self._changed(file.path) from None
        if stamp(source.status) != stamp(file.status):
            source.close()
            raise self._changed(file.path)
        return source

    def check_unchanged(self) -> None:
        """Raise ``Conflict`` if any file was changed, added or removed since the listing."""
        before = {file.path: file.stamp for file in self.files}
        try:
            after = {file.path: file.stamp for file in self._walk(Counter())}
        except (MvcError, OSError) as error:
            raise self._changed(str(error)) from None
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                raise self._changed(path)

    def _walk(self, passed: Counter[str]) -> Iterator[FolderFile]:
        """Yield the files taken, in any order; count in ``passed`` what is not taken."""
        waiting = [""]
        while waiting:
            above = waiting.pop()
            with os.scandir(self.path / above) as entries:
                for entry in entries:
                    path = f"{above}/{entry.name}" if above else entry.name
                    if self._is_left_out(entry):
                        passed[entry.name] += 1
                    elif self._selection.excludes(path):
                        passed[_EXCLUDED] += 1
                    elif entry.is_dir(follow_symlinks=False):
                        self._check(path)
                        waiting.append(path)
                    elif self._selection.includes(path):
                        yield self._file(path)
                    else:
                        passed[_EXCLUDED] += 1

    def _is_left_out(self, entry: os.DirEntry[str]) -> bool:
        if tree.is_own(entry.name):
            return True
        if self._own and entry.inode() == self._own.st_ino and os.path.isdir(entry.path):
            return os.path.samestat(entry.stat(), self._own)
        return entry.name in LEFT_OUT and os.path.isdir(entry.path)

    def _file(self, path: str) -> FolderFile:
        self._check(path)
        place = self.path / path
        try:
            status = os.stat(place)
        except OSError as error:
            raise explained(place, error, self._way_round(path)) from None
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"'{place}' is a link to a folder", hint=self._way_round(path))
        if kind := kind_of(status):
            raise UsageError(f"'{place}' is {kind}", hint=self._way_round(path))
        return FolderFile(path, status)

    def _check(self, path: str) -> None:
        try:
            tree.check_path(path)
        except FormatError as error:
            hint = f"rename it, or {self._way_round(path)}"
            raise UsageError(f"in '{self.path}': {error.message}", hint=hint) from None

    def _check_names(self) -> None:
        """Refuse before anything is read what no tree can hold."""
        try:
            tree.encode(Tree(tuple(map(_to_be, self.files))))
        except FormatError as error:
            hint = "rename one of them, or leave it out: --exclude GLOB"
            raise UsageError(f"in '{self.path}': {error.message}", hint=hint) from None

    def _empty(self) -> UsageError:
        if self.excluded:
            hint = "--include and --exclude leave none; what they mean: mvc add --help"
            return UsageError(f"no file of '{self.path}' is to be taken", hint=hint)
        kept = f"; {', '.join(sorted(self.left_out))} is left out" if self.left_out else ""
        return UsageError(f"'{self.path}' holds no files{kept}", hint="add a folder with a model")

    def _changed(self, what: str) -> Conflict:
        return Conflict(
            f"'{self.path}' changed while it was read: {what!r:.200}",
            hint="nothing was stored; run it again when the folder is finished",
        )

    def _way_round(self, path: str) -> str:
        """Return a hint how to do without a file; its glob means nothing else."""
        if not path.isprintable():
            return "leave it out: --exclude GLOB"
        return f"leave it out: --exclude {shlex.quote(glob.escape(path))}"


def _to_be(file: FolderFile) -> TreeFile:
    return TreeFile(file.mode, file.status.st_size, _NO_DIGEST, file.path)
