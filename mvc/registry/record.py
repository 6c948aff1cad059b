"""Records: what a version is, written once and sealed.

A record does not hold its number, which is its file's name; so a lost race
for a number links the same bytes under the next one.

Format: ``docs/formats/record.md``.
Public names: ``Artifact``, ``Record``, ``directory``, ``encode``, ``decode``, ``finite``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any

from mvc import tree
from mvc.digest import Digest, digest_of
from mvc.errors import FormatError
from mvc.lines import Value
from mvc.registry.sealed import Reader, sealed
from mvc.registry.unchanging import unchanging
from mvc.tree import Tree, TreeFile
from mvc.verdict import Safety

FILE, DIRECTORY = KINDS = ("file", "directory")
OPAQUE = "opaque"
# A directory of more files, or with a longer tree, is listed by its tree only.
MOST_LISTED = 1000
MAX_LISTED = 256 << 10
NOT_FINITE = ("nan", "inf", "-inf")
_MODES = {f"{mode:04o}": mode for mode in (tree.PLAIN, tree.EXECUTABLE)}


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a version holds: one file, or a directory.

    ``format`` is ``opaque`` where mvc does not know the file's inside; then
    ``tensors``, ``parameters`` and ``dtypes`` are ``None``. ``safety`` is what
    loading it would run, ``None`` where mvc cannot say. Of a directory
    ``digest`` is that of its tree, ``size`` and the other facts are those of
    all its files together, ``files`` is how many there are, and ``listing``
    all of them, or ``None`` if they are too many for a record.
    """

    kind: str
    name: str
    digest: Digest
    size: int
    format: str = OPAQUE
    tensors: int | None = None
    parameters: int | None = None
    dtypes: Mapping[str, int] | None = None
    safety: Safety | None = None
    files: int | None = None
    listing: tuple[TreeFile, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtypes", unchanging(self.dtypes))

    def as_values(self) -> dict[str, Value]:
        values: dict[str, Value] = {
            "kind": self.kind,
            "name": self.name,
            "digest": str(self.digest),
            "size": self.size,
            "format": self.format,
        }
        if self.tensors is not None:
            values["tensors"] = self.tensors
            values["parameters"] = self.parameters
            values["dtypes"] = dict(self.dtypes or {})
        if self.safety is not None:
            values["safety"] = self.safety.as_values()
        if self.files is not None:
            values["files"] = self.files
        if self.listing is not None:
            values["listing"] = [_row(file) for file in self.listing]
        return values

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Artifact:
        known = {"kind": str, "name": str, "digest": str, "size": int, "format": str}
        facts = {"tensors": int, "parameters": int, "dtypes": dict}
        others = {**facts, "safety": dict, "files": int, "listing": list}
        for name, kind in known.items():
            if type(values.get(name)) is not kind:
                raise FormatError(f"the artifact's '{name}' is {values.get(name)!r:.80}")
        for name, value in values.items():
            if name not in known and type(value) is not others.get(name):
                raise FormatError(f"the artifact has a wrong field '{name}'")
        counts = [values[name] for name in facts if name in values]
        if len(counts) not in (0, len(facts)):
            raise FormatError("the artifact lacks some of 'tensors', 'parameters', 'dtypes'")
        if counts and not all(
            type(n) is int and n >= 0 for n in (*counts[:2], *counts[2].values())
        ):
            raise FormatError("the artifact counts what cannot be counted")
        if values["kind"] not in KINDS or values["size"] < 0:
            raise FormatError(f"the artifact is a {values['kind']!r:.40} of {values['size']} bytes")
        safety = Safety.from_values(values["safety"]) if "safety" in values else None
        digest = Digest.parse(values["digest"])
        artifact = cls(**{**values, "digest": digest, "safety": safety, "listing": None})
        return _with_files(artifact, values.get("listing"))


def _with_files(artifact: Artifact, rows: list[Any] | None) -> Artifact:
    """Check what only a directory has; its list of files must be that of its tree."""
    count = artifact.files
    if (artifact.kind == DIRECTORY) != (count is not None) or (count is None and rows is not None):
        raise FormatError(f"the artifact is a {artifact.kind}, and has {count} files")
    if rows is None:
        if count is not None and count < 1:
            raise FormatError(f"the artifact is a directory of {count} files")
        return artifact
    listed = Tree(tuple(map(_file, rows)))
    facts = len(rows), listed.size, digest_of(tree.encode(listed))
    if facts != (count, artifact.size, artifact.digest) or [_row(f) for f in listed.files] != rows:
        raise FormatError("the artifact's list of files is not that of its tree")
    return replace(artifact, listing=listed.files)


def _row(file: TreeFile) -> dict[str, Value]:
    mode = f"{file.mode:04o}"
    return {"path": file.path, "size": file.size, "mode": mode, "digest": str(file.digest)}


def _file(row: Any) -> TreeFile:
    if not isinstance(row, dict) or list(map(type, row.values())) != [str, int, str, str]:
        raise FormatError("the artifact's list of files has a wrong row")
    if row.keys() != {"path", "size", "mode", "digest"} or row["mode"] not in _MODES:
        raise FormatError("the artifact's list of files has a wrong row")
    return TreeFile(_MODES[row["mode"]], row["size"], Digest.parse(row["digest"]), row["path"])


def directory(name: str, files: Tree) -> Artifact:
    """Return the artifact for a directory, of which nothing more is known than its tree."""
    data = tree.encode(files)
    listed = len(files.files) <= MOST_LISTED and len(data) <= MAX_LISTED
    listing = files.files if listed else None
    count = len(files.files)
    return Artifact(DIRECTORY, name, digest_of(data), files.size, files=count, listing=listing)


@dataclass(frozen=True, slots=True)
class Record:
    """One immutable state of a family, all the way down; ``id`` is that of its transaction."""

    family: str
    id: str
    created: str
    artifact: Artifact
    weights: Digest | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | int | str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    author: str = ""

    def __post_init__(self) -> None:
        for name in ("model", "metrics", "params", "lineage", "labels"):
            object.__setattr__(self, name, unchanging(getattr(self, name)))


def encode(record: Record) -> bytes:
    """Write a record, sealed.

    Raises:
        UsageError: A value cannot be written (see ``mvc.lines.dumps``).
    """
    values: dict[str, Value] = {
        "family": record.family,
        "id": record.id,
        "created": record.created,
        "artifact": record.artifact.as_values(),
    }
    if record.weights is not None:
        values["weights"] = str(record.weights)
    rest = ("model", "metrics", "params", "lineage", "labels", "message", "author")
    return sealed({**values, **{name: getattr(record, name) for name in rest}})


def decode(data: bytes) -> Record:
    """Read a record back.

    Raises:
        FormatError: The seal does not hold, or a field is wrong; it is named.
        Unsupported: A newer mvc wrote it.
    """
    reader = Reader(data, "the record")
    record = Record(
        family=reader.take("family", str),
        id=reader.take("id", str),
        created=reader.take_time("created"),
        artifact=Artifact.from_values(reader.take("artifact", dict)),
        weights=reader.take_digest("weights"),
        model=reader.take("model", dict),
        metrics=_metrics(reader.take("metrics", dict)),
        params=reader.take("params", dict),
        lineage=reader.take("lineage", dict),
        labels=reader.take("labels", dict),
        message=reader.take("message", str, NoneType),
        author=reader.take("author", str),
    )
    reader.finish()
    return record


def finite(value: object) -> float | int | None:
    """Return a metric's value if it can be compared, else ``None``."""
    if isinstance(value, int):  # may be too large for a float, and is compared all the same
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None


def _metrics(values: dict[str, Any]) -> dict[str, Any]:
    for name, value in values.items():
        if type(value) not in (int, float) and value not in NOT_FINITE:
            raise FormatError(f"the record's metric '{name}' is {value!r:.40}")
    return values
