"""Ingest of a folder: its files one by one, then the tree that names them.

Public names: ``ingest_folder``, ``put_together``, ``FilesRead``.
"""

from __future__ import annotations

import json
import posixpath
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain

from mvc import tree
from mvc.progress import job
from mvc.registry.intake.folder import FolderFile, SourceFolder
from mvc.registry.intake.ingest import Contents, FileRead, Ingested, read, weights_of
from mvc.registry.intake.relatives import Relatives
from mvc.registry.intake.sink import Sink
from mvc.registry.names import model_suffix
from mvc.registry.record import directory
from mvc.tree import Tree, TreeFile
from mvc.verdict import Safety, Verdict, shortened, worst

INDEX_SUFFIX = ".index.json"
MAX_INDEX = 64 << 20
# Told by its name, as Python tells it; a model's own code lies beside its weights.
PYTHON_SUFFIX, PYTHON_CODE = ".py", "Python code"

FilesRead = list[tuple[FolderFile, FileRead]]


def ingest_folder(source: SourceFolder, sink: Sink, relatives: Relatives | None = None) -> Ingested:
    """Put a folder's files and its tree into ``sink``.

    Raises:
        Conflict: The folder or a file in it changed while it was read.
    """
    found: FilesRead = []
    with job(f"reading {source.name}", source.size):
        for file in source.files:
            with source.open(file) as opened:
                found.append((file, read(opened, sink, relatives)))
    source.check_unchanged()
    got = put_together(source, found)
    sink.put(tree.encode(_tree(found)), got.artifact.digest, 0)
    return got


def put_together(source: SourceFolder, found: FilesRead) -> Ingested:
    """Return what a folder turned out to be, of which each file was read."""
    safety = shortened(worst(_label(file, got) for file, got in found))
    artifact = replace(directory(source.name, _tree(found)), safety=safety)
    parts = [got.contents for _, got in found if got.contents and _has_tensors(got.contents)]
    tied = dict(_tied(source, found))
    together = frozenset(chain(*tied.values()))
    doubts = (*_broken(source, found), *_missing(source, found, tied))
    notes = (*_left_out(source), *doubts, *_apart(source, found, together))
    got = Ingested(artifact, None, None, notes, doubts)
    if not parts or len({part.format for part in parts}) > 1:
        return got
    return _described(got, parts)


def _tree(found: FilesRead) -> Tree:
    return Tree(tuple(TreeFile(f.mode, got.size, got.digest, f.path) for f, got in found))


def _described(got: Ingested, parts: list[Contents]) -> Ingested:
    """Add up what the files' tensors come to; weights are those of all, or of none."""
    rows = [row for part in parts for row in part.rows]
    frameworks = {part.framework for part in parts}
    dtypes: Counter[str] = sum((part.dtypes for part in parts), Counter())
    described = replace(
        got.artifact,
        format=parts[0].format,
        tensors=sum(part.tensors for part in parts),
        parameters=sum(part.parameters for part in parts),
        dtypes=dict(sorted(dtypes.items())),
    )
    weights = weights_of(rows) if all(part.told for part in parts) else None
    framework = frameworks.pop() if len(frameworks) == 1 else None
    return replace(got, artifact=described, weights=weights, framework=framework)


def _label(file: FolderFile, got: FileRead) -> Safety | None:
    if file.path.endswith(PYTHON_SUFFIX):
        return Safety(Verdict.OTHER, (PYTHON_CODE,))
    return got.safety


def _has_tensors(contents: Contents) -> bool:
    return bool(contents.tensors) or not contents.told


def _left_out(source: SourceFolder) -> Iterator[str]:
    names = [f"{n} × {name}" if n > 1 else name for name, n in sorted(source.left_out.items())]
    if names:
        yield f"left out of '{source.path}': {', '.join(names)}"
    if source.excluded:
        what = "file or folder" if source.excluded == 1 else "files or folders"
        yield f"excluded from '{source.path}': {source.excluded:,} {what}"


def _broken(source: SourceFolder, found: FilesRead) -> Iterator[str]:
    """Say so where a file with the name of a model's holds none."""
    for file, got in found:
        if got.instead and model_suffix(file.path):
            yield f"'{source.path}/{file.path}' {got.instead}"


def _missing(
    source: SourceFolder, found: FilesRead, tied: Mapping[str, frozenset[str]]
) -> Iterator[str]:
    """Say so where a file names others that are to have weights, and they are not there."""
    there = {file.path for file, _ in found}
    for path, named in tied.items():
        lacking = sorted(named - there)
        if lacking:
            more = f" and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
            yield f"'{source.path}/{path}' names '{lacking[0]}'{more}, not in the folder"


def _apart(source: SourceFolder, found: FilesRead, tied: frozenset[str]) -> Iterator[str]:
    """Say so where files look like versions of one model rather than parts of it."""
    weights = {file.path for file, got in found if got.contents and _has_tensors(got.contents)}
    groups = Counter(_glob(path) for path in weights)
    if max(groups.values(), default=0) < 2:
        return
    groups = Counter(_glob(path) for path in weights - tied)
    for name, count in groups.items():
        if count > 1:
            folder, _, pattern = f"{source.path}/{name}".rpartition("/")
            typed = f"mvc add FAMILY {shlex.quote(folder)}/{pattern}"
            yield (
                f"{count:,} files '{folder}/{pattern}' have weights, and no index ties them "
                f"together; {typed} makes a version of each"
            )


def _glob(path: str) -> str:
    folder, name = posixpath.split(path)
    return posixpath.join(folder, "*" + posixpath.splitext(name)[1])


def _tied(source: SourceFolder, found: FilesRead) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield indexes of shards, and models with weights elsewhere, with the files that they name."""
    for file, got in found:
        named: Iterable[str] = got.elsewhere
        if file.path.endswith(INDEX_SUFFIX) and got.size <= MAX_INDEX:
            with source.open(file) as opened:
                data = opened.read(0, got.size)
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                shards = set(json.loads(data)["weight_map"].values())
                named = shards if all(isinstance(shard, str) for shard in shards) else ()
        beside = posixpath.dirname(file.path)
        yield file.path, frozenset(posixpath.normpath(posixpath.join(beside, n)) for n in named)
