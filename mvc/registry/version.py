"""``Version``: what everything that speaks of a version returns.

Public names: ``Version``, ``Added``, ``Imported``, ``CheckedOut``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mvc.lines import Value
from mvc.registry.display import Display, Displayed
from mvc.registry.family import Family
from mvc.registry.record import Artifact, Record


@dataclass(frozen=True, repr=False)
class Version(Displayed):
    """One version as it stands now: its record, and what events say of it.

    ``id`` is ``family/vN``; ``present`` tells whether the store is known to
    hold its bytes. What is ``released`` is withdrawn, and gc gave up its bytes.
    Nothing in it can be written to; it can be a key or in a set, where what says the same is one.
    """

    id: str
    family: str
    version: str
    created: str
    withdrawn: bool
    released: bool
    latest: bool
    best: bool
    tags: tuple[str, ...]
    artifact: Artifact
    weights: str | None
    model: Mapping[str, Any]
    metrics: Mapping[str, float | int | str]
    params: Mapping[str, Any]
    lineage: Mapping[str, Any]
    labels: Mapping[str, str]
    message: str | None
    author: str
    present: bool

    @property
    def number(self) -> int:
        return int(self.version[1:])

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called beside its id: ``withdrawn``, ``latest``, ``best``, its tags."""
        gone = ("released",) if self.released else ("withdrawn",) if self.withdrawn else ()
        rules = tuple(name for name in ("latest", "best") if getattr(self, name))
        return (*gone, *rules, *self.tags)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        values = {item.name: _plain(getattr(self, item.name)) for item in fields(self)}
        return {**values, "artifact": self.artifact.as_values()}

    def __hash__(self) -> int:
        return hash((self.id, self.artifact.digest))

    def __repr__(self) -> str:
        metrics = "".join(f" {name}={_rounded(value)}" for name, value in self.metrics.items())
        names = ", ".join(self.names)
        return f"<{self.id}{metrics}{f' ({names})' if names else ''}>"

    def _display(self) -> Display:
        return Display(self.id, (", ".join(self.names) or "version",), tuple(self._rows()))

    def _rows(self) -> Iterator[tuple[str, list[str]]]:
        artifact = self.artifact
        yield "created", [f"{self.created[:19].replace('T', ' ')} UTC by {self.author}"]
        files = f", {artifact.files:,} files" if artifact.files is not None else ""
        yield artifact.kind, [f"{artifact.name}{files}, {artifact.size:,} bytes, {artifact.format}"]
        if artifact.tensors is not None:
            kinds = ", ".join(artifact.dtypes or {})
            yield "tensors", [f"{artifact.tensors:,}, {artifact.parameters:,} parameters, {kinds}"]
        for name in ("metrics", "params", "lineage", "labels"):
            facts = getattr(self, name).items()
            yield name, [f"{key} {_text(v)}" for key, v in facts if v not in (None, {}, [])]
        yield "message", [self.message] if self.message else []
        yield "bytes", [] if self.present else ["not in the store"]


@dataclass(frozen=True, repr=False)
class Added(Version):
    """A version just added, with the bytes ``stored`` for it and ``reused``.

    ``same_bytes`` and ``same_weights`` name an earlier version that equals it;
    ``untagged`` are the tags asked for that could not be set. ``notes`` say
    what of a folder was left out, and what else its files may be.
    """

    stored: int = 0
    reused: int = 0
    new: bool = True
    same_bytes: str | None = None
    same_weights: str | None = None
    untagged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    __hash__ = Version.__hash__


@dataclass(frozen=True, repr=False)
class Imported(Added):
    """A version of a model published elsewhere, of which ``received`` bytes came just now.

    ``path`` is where it lies in the cache that it came to.
    """

    received: int = 0
    path: Path = field(default_factory=Path)

    __hash__ = Version.__hash__


@dataclass(frozen=True, repr=False)
class CheckedOut(Version):
    """A version just written to ``path``; ``written`` is false where it was right already.

    Of a folder, ``removed`` are the files that another version had left in
    it, and ``others`` those that are no version's and stay. ``size`` is the bytes
    of all files that were asked for.
    """

    path: Path = field(default_factory=Path)
    written: bool = True
    removed: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    size: int = 0

    __hash__ = Version.__hash__


def view(
    family: Family, number: int, record: Record, present: bool, *, released: bool = False
) -> dict[str, Any]:
    """Return the fields of a ``Version``, for it and the classes made from it."""
    return {
        "id": f"{family.name}/v{number}",
        "family": family.name,
        "version": f"v{number}",
        "created": record.created,
        "withdrawn": number in family.withdrawn,
        "released": released,
        "latest": number == family.latest,
        "best": family.best is not None and family.best[0] == number,
        "tags": tuple(tag for tag, target in family.tags.items() if target == number),
        "artifact": record.artifact,
        "weights": str(record.weights) if record.weights else None,
        "model": record.model,
        "metrics": record.metrics,
        "params": record.params,
        "lineage": record.lineage,
        "labels": record.labels,
        "message": record.message,
        "author": record.author,
        "present": present,
    }


def _text(value: Any) -> str:
    if isinstance(value, list):  # parents, by their ids alone
        return ", ".join(_text(item["id"] if _has_id(item) else item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _has_id(value: Any) -> bool:
    return isinstance(value, dict) and "id" in value


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _plain(value: Any) -> Value:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
