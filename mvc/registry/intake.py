"""Intake: what ``add`` does, from a file and a few facts to a version.

Children first, the name last: objects, packs, the root in the store, and then
the version's record, whose link is the commit point. After it nothing can
fail the command; a tag that cannot be set is reported.

Steps and what a kill after each leaves: ``docs/invariants.md``.
Public names: ``Facts``, ``add``, ``add_steps``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat

from mvc import environment, fileio
from mvc.errors import MvcError, MvcWarning, NotFound, UsageError
from mvc.fileio import Steps
from mvc.lines import Value
from mvc.registry import changes, resolve, worktree
from mvc.registry import family as families
from mvc.registry import record as records
from mvc.registry.family import Family
from mvc.registry.ingest import Ingested, ingest
from mvc.registry.manifest import Manifest
from mvc.registry.names import check_family, check_key, check_metric, check_tag, folder_of
from mvc.registry.place import Place
from mvc.registry.presence import Presence
from mvc.registry.record import Record
from mvc.registry.sealed import now, sealed
from mvc.registry.source import SourceFile
from mvc.registry.version import Added, view
from mvc.store import Store, Transaction

# Frames, index, record and the folders they need.
SPACE_BESIDE = 1 << 20
# How far back an equal version is looked for, to be named.
MOST_COMPARED = 1000
_OWN_LINEAGE = ("parents", "code", "source")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the user says of a version, checked when made and kept as a record has it."""

    metrics: Mapping[str, SupportsFloat] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    framework: str | None = None
    architecture: str | None = None
    input_shape: tuple[int, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for tag in self.tags:
            check_tag(tag)
        for name in _OWN_LINEAGE:
            if name in self.lineage:
                raise UsageError(f"mvc notes the {name} itself", hint="a parent is --parent REF")
        if self.input_shape is not None and any(
            type(size) is not int or size < 1 for size in self.input_shape
        ):
            raise UsageError(f"{self.input_shape} is no shape", hint="as in 1,3,224,224")
        kept: dict[str, Mapping[str, Value]] = {
            "metrics": {check_metric(name): _metric(name, v) for name, v in self.metrics.items()},
            "params": {check_key(name): _value(name, v) for name, v in self.params.items()},
            "lineage": {check_key(name): _value(name, v) for name, v in self.lineage.items()},
            "labels": {check_key(name): str(v) for name, v in self.labels.items()},
        }
        sealed({**kept, "message": self.message, "model": [self.framework, self.architecture]})
        for name, values in kept.items():
            object.__setattr__(self, name, values)


def add(
    place: Place, manifest: Manifest, presence: Presence, name: str, path: Path, facts: Facts
) -> Added:
    """Register a file as the next version of a family. Raises as ``ModelRegistry.add`` says."""
    check_family(name)
    store = presence.writable()
    with SourceFile(path) as source:
        free = fileio.free_space(store.folder)
        if free < source.size + SPACE_BESIDE:
            raise MvcError(
                f"'{path}' has {source.size:,} bytes, only {free:,} are free in '{store.folder}'",
                hint="free some space; mvc du shows what versions take",
            )
        added = fileio.run(add_steps(place, manifest, store, name, source, facts))
        worktree.note(place.cache, path, added.id, added.artifact.digest, source.status)
    return added


def add_steps(
    place: Place,
    manifest: Manifest,
    store: Store,
    name: str,
    source: SourceFile,
    facts: Facts,
) -> Steps[Added]:
    """The protocol of ``add``; ``version linked`` is its commit point."""
    lineage = _lineage(manifest, facts)
    before = _family_or_none(manifest, name)
    transaction = Transaction(store)
    try:
        yield from transaction.begin()
        got = ingest(source, transaction)
        yield "objects"
        record = _record(before.name if before else name, transaction.id, got, facts, lineage)
        data = records.encode(record)
        yield from transaction.publish(place.id, data)
        number = yield from manifest.create_version(name, data)
    finally:
        transaction.end()
    untagged = yield from _tag_all(manifest, folder_of(name), number, facts)
    family = _family_after(manifest, before.name if before else name, number)
    _warn_of_guess(before, family)
    bytes_of, weights_of = None, None
    if transaction.reused and before:
        bytes_of, weights_of = _equal_versions(manifest, before, got)
    return Added(
        **view(family, number, record, True),
        stored=transaction.stored,
        reused=transaction.reused,
        same_bytes=bytes_of,
        same_weights=weights_of,
        untagged=untagged,
    )


def _record(
    family: str, identity: str, got: Ingested, facts: Facts, lineage: Mapping[str, Value]
) -> Record:
    model: dict[str, Value] = {
        "framework": facts.framework or got.framework,
        "architecture": facts.architecture,
        "input_shape": facts.input_shape,
    }
    return Record(
        family=family,
        id=identity,
        created=now(),
        artifact=got.artifact,
        weights=got.weights,
        model={name: value for name, value in model.items() if value is not None},
        metrics=facts.metrics,  # type: ignore[arg-type]  # Facts made them plain numbers
        params=facts.params,
        lineage=lineage,
        labels=facts.labels,
        message=facts.message,
        author=environment.author(),
    )


def _lineage(manifest: Manifest, facts: Facts) -> dict[str, Value]:
    parents: list[Value] = []
    for ref in facts.parents:
        family, number = resolve.resolve(manifest, ref)
        digest = manifest.record(family.folder, number)[1]
        parents.append({"id": f"{family.name}/v{number}", "record": str(digest)})
    given = {"dataset": None, "date": None, **facts.lineage}
    code = environment.code_state(Path.cwd())
    return {**given, "parents": parents, "code": code, "source": None}


def _tag_all(manifest: Manifest, family: str, number: int, facts: Facts) -> Steps[tuple[str, ...]]:
    untagged = []
    for tag in facts.tags:
        try:
            yield from changes.tag_steps(manifest, family, number, tag)
        except (MvcError, OSError) as error:
            untagged.append(tag)
            warnings.warn(
                f"{family}/v{number} is stored, but was not tagged '{tag}': {error}",
                MvcWarning,
                stacklevel=2,
            )
    return tuple(untagged)


def _warn_of_guess(before: Family | None, after: Family) -> None:
    rule = after.rule
    if rule and rule.source == "guessed" and not (before and before.rule):
        warnings.warn(
            f"'best' now means the highest '{rule.metric}'; "
            f"mvc best {after.name} {rule.metric} --min or --max says which is right",
            MvcWarning,
            stacklevel=2,
        )


def _equal_versions(
    manifest: Manifest, before: Family, got: Ingested
) -> tuple[str | None, str | None]:
    """Find the newest earlier version with the same bytes, and with the same weights."""
    weights_of: str | None = None
    for number in list(before.numbers(manifest))[: -MOST_COMPARED - 1 : -1]:
        try:
            record, _ = manifest.record(before.folder, number)
        except MvcError:
            continue
        identity = f"{before.name}/v{number}"
        if got.weights and record.weights == got.weights:
            weights_of = weights_of or identity
        if record.artifact.digest == got.artifact.digest:
            return identity, weights_of
    return None, weights_of


def _family_after(manifest: Manifest, name: str, number: int) -> Family:
    """Return the state of the family; what is wrong with it cannot undo the commit."""
    try:
        return families.load(manifest, name)
    except (MvcError, OSError) as error:
        warnings.warn(f"{name}/v{number} is stored, but: {error}", MvcWarning, stacklevel=2)
        return Family(folder_of(name), name, number, number, latest=number)


def _family_or_none(manifest: Manifest, name: str) -> Family | None:
    try:
        return families.load(manifest, name)
    except NotFound:
        return None


def _metric(name: str, value: SupportsFloat) -> float | int | str:
    if type(value) is int:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(
            f"metric '{name}' is {str(value)[:80]!r}, which is no number",
            hint="a metric is NAME=NUMBER, as in acc=0.95",
        ) from None
    if math.isfinite(number):
        return number
    warnings.warn(
        f"metric '{name}' is {number}: it is kept, but never best", MvcWarning, stacklevel=2
    )
    return str(number)


def _value(name: str, value: Any) -> Value:
    """Return a parameter as a record can hold it: JSON, non-finite numbers as text."""
    if isinstance(value, Mapping):
        return {check_key(str(key)): _value(name, item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_value(name, item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # a scalar of numpy or torch
        return _value(name, value.item())
    return str(value)
