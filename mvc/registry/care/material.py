"""Material: what a user gives to mend from, told apart by what it is.

A folder stands for all files in it: a backup of a registry or store gives its
packs, records and events, any other folder its model files.

Public names: ``Material``, ``collect``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mvc.errors import NotFound
from mvc.store.salvage import is_pack


@dataclass(slots=True)
class Material:
    """Files to mend from, and which of the paths given have been of use."""

    given: list[Path] = field(default_factory=list)
    packs: list[Path] = field(default_factory=list)
    sealed: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    _used: set[Path] = field(default_factory=set)

    def use(self, path: Path) -> None:
        """Note that ``path`` was of use."""
        self._used |= {given for given in self.given if path.is_relative_to(given)}

    def unused(self) -> list[Path]:
        """Return what was given and was of no use."""
        return [given for given in self.given if given not in self._used]


def collect(given: Sequence[Path], ours: Sequence[Path]) -> Material:
    """Look at what was given; what lies in ``ours``, the registry itself, is passed over.

    Raises:
        NotFound: One of the paths is not there.
    """
    found = Material([Path(os.path.abspath(path)) for path in given])
    for path in found.given:
        if not path.exists():
            raise NotFound(
                f"no file or folder '{path}'",
                hint="--from names a whole copy of the file, or a backup of the store",
            )
        for file in [path] if path.is_file() else _files_below(path):
            if any(file.is_relative_to(folder) for folder in ours):
                continue
            if is_pack(file):
                found.packs.append(file)
            elif file.suffix == ".yaml":
                found.sealed.append(file)
            else:
                found.files.append(file)
    return found


def _files_below(folder: Path) -> list[Path]:
    found = []
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in (".git", "cache"))
        found += [path for name in sorted(names) if (path := Path(above, name)).is_file()]
    return found
