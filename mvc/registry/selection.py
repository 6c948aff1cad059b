"""Which files of a folder somebody means: ``--include`` and ``--exclude``.

What the globs mean: ``docs/folders.md``.
Public names: ``Selection``, ``ALL``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import translate


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a folder are taken: those of ``include``, or all; never those of ``exclude``.

    A glob means a file if it matches its path, its name, or the path or name
    of a folder above it; ``*`` also stands for ``/``. Case counts everywhere.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def includes(self, path: str) -> bool:
        """Say whether a file is among those asked for."""
        return not self.include or any(_means(self.include, above) for above in _above(path))

    def takes(self, path: str) -> bool:
        """Say whether a file is taken, whatever it lies in."""
        return self.includes(path) and not any(map(self.excludes, _above(path)))

    def excludes(self, path: str) -> bool:
        """Say whether a file, or a whole folder, is not wanted; what is above it has been asked."""
        return _means(self.exclude, path)


ALL = Selection()


def _means(globs: tuple[str, ...], path: str) -> bool:
    name = path.rpartition("/")[2]
    pattern = "|".join(translate(glob.rstrip("/")) for glob in globs)
    # ``re`` keeps what it compiled.
    return bool(globs) and any(re.match(pattern, text) for text in (path, name))


def _above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
