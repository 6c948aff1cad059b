"""Contents: the files of a version, or the one of them that a ref names.

Public names: ``tree_of``, ``chosen``, ``file_of``.
"""

from __future__ import annotations

import re

from mvc.errors import NotFound
from mvc.registry import reach
from mvc.registry.location.presence import Presence
from mvc.registry.names import NAME, near
from mvc.registry.record import DIRECTORY, Artifact
from mvc.registry.selection import Selection
from mvc.tree import PLAIN, Tree, TreeFile


def tree_of(presence: Presence, artifact: Artifact) -> Tree:
    """Return a version's files; the store is asked only for what the record does not list.

    Raises:
        Damaged: The list of files is missing or damaged, or holds a path that
            would lead out of its folder.
    """
    if artifact.kind != DIRECTORY:
        return Tree((TreeFile(PLAIN, artifact.size, artifact.digest, artifact.name),))
    if artifact.listing is not None:
        return Tree(artifact.listing)
    return Tree(reach.files_of(presence.store, artifact))


def chosen(presence: Presence, artifact: Artifact, identity: str, selection: Selection) -> Tree:
    """Return the files of a directory that are meant.

    Raises:
        NotFound: None of them is.
    """
    files = [file for file in tree_of(presence, artifact).files if selection.takes(file.path)]
    if not files:
        raise NotFound(
            f"no file of {identity} is meant",
            hint=f"mvc show {identity} lists its files; a glob is as in --include '*.json'",
        )
    return Tree(tuple(files))


def file_of(presence: Presence, artifact: Artifact, identity: str, path: str) -> TreeFile:
    """Return one file of a directory, as one that lies by itself under its last name.

    Raises:
        NotFound: There is no such file; the hint names those like it.
    """
    files = {file.path: file for file in tree_of(presence, artifact).files}
    wanted = path.removesuffix("/")
    if path in files:
        file = files[path]
        return TreeFile(file.mode, file.size, file.digest, path.rpartition("/")[2])
    beneath = [name for name in files if name.startswith(f"{wanted}/")]
    if beneath:
        raise NotFound(
            f"'{wanted}' is a folder of {identity}, not a file",
            hint=f"as in {identity}:{beneath[0]}",
        )
    same_name = [name for name in files if name.rpartition("/")[2] == wanted.rpartition("/")[2]]
    hint = f"mvc show {identity} lists its files"
    if re.fullmatch(NAME, path) and "." not in path:
        hint += f"; a tag is written {identity.rpartition('/')[0]}@{path}"
    raise NotFound(f"no file '{path}' in {identity}", hint=near(path, same_name or files) or hint)
