"""Intake: what ``add`` does, from a file or folder and a few facts to a version.

Children first, the name last: objects, packs, the root in the store, and then
the version's record, whose link is the commit point. After it nothing can
fail the command; a tag that cannot be set is reported.

Steps and what a kill after each leaves: ``docs/invariants.md``.
Public names: ``Facts``, ``add``, ``add_from``, ``add_steps``.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat

from mvc import environment, fileio
from mvc.errors import ModelWarning, MvcError, MvcWarning, NotFound, Refused, UsageError, warn
from mvc.fileio import Steps
from mvc.lines import Value
from mvc.registry import changes
from mvc.registry import family as families
from mvc.registry import record as records
from mvc.registry.alike import earlier_like
from mvc.registry.care.vanished import highest_given
from mvc.registry.digests import Notes
from mvc.registry.family import Family
from mvc.registry.intake.again import again
from mvc.registry.intake.cutting import CHUNK_SIZE
from mvc.registry.intake.floats import float_of
from mvc.registry.intake.folder import SourceFolder
from mvc.registry.intake.ingest import Ingested, ingest, reuse
from mvc.registry.intake.ingest_folder import ingest_folder
from mvc.registry.intake.origin import Origin, parent_of
from mvc.registry.intake.relatives import Relatives, nearest
from mvc.registry.intake.sink import Lacking, Sink
from mvc.registry.intake.source import SourceFile
from mvc.registry.intake.unchanged import IfChanged, Meanwhile, unchanged
from mvc.registry.location.place import Place, check_store, is_tools_own
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.names import check_family, check_key, check_metric, check_tag, folder_of
from mvc.registry.reach import files_of
from mvc.registry.record import Record
from mvc.registry.refs import AnyRef
from mvc.registry.sealed import now, read_again, sealed
from mvc.registry.search import requirement
from mvc.registry.selection import ALL, Selection
from mvc.registry.version import Added, view
from mvc.store import Store, Transaction
from mvc.store.rewrite import tidy
from mvc.system_errors import in_words

# Frames, index, record and the folders they need.
SPACE_BESIDE = 1 << 20
# The record, twice, where nothing is to be stored; more than any takes but of hundreds of files.
SPACE_OF_RECORD = 128 << 10
_COMMIT = re.compile(r"[0-9a-f]{7,64}\Z")
# A scheme is short: without a bound a long text would be read over and over.
_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s/:@?#]*):[^\s/@]*@")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the user says of a version, checked when made and kept as a record has it."""

    metrics: Mapping[str, SupportsFloat] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[AnyRef, ...] = ()
    framework: str | None = None
    architecture: str | None = None
    input_shape: tuple[int, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    tags: tuple[str, ...] = ()
    if_changed: IfChanged = False
    refuse_code: bool = False
    require: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        for tag in self.tags:
            check_tag(tag)
        for name in ("parents", "source"):
            if name in self.lineage:
                raise UsageError(f"mvc notes the {name} itself", hint="a parent is --parent REF")
        if self.input_shape is not None:
            object.__setattr__(self, "input_shape", tuple(self.input_shape))
        if self.input_shape is not None and any(
            type(size) is not int or size < 1 for size in self.input_shape
        ):
            raise UsageError(f"{self.input_shape} is no shape", hint="as in 1,3,224,224")
        kept: dict[str, Mapping[str, Value]] = {
            "metrics": {check_metric(name): _metric(name, v) for name, v in self.metrics.items()},
            "params": {check_key(name): _value(name, v) for name, v in self.params.items()},
            "lineage": {check_key(name): _value(name, v) for name, v in self.lineage.items()},
            "labels": {check_key(name): _public(name, str(v)) for name, v in self.labels.items()},
        }
        if "code" in self.lineage:
            kept["lineage"] = {**kept["lineage"], "code": _code(self.lineage["code"])}
        message = None if self.message is None else _public("message", self.message)
        sealed({**kept, "message": message, "model": [self.framework, self.architecture]})
        for name, values in {**kept, "message": message}.items():
            object.__setattr__(self, name, values)


def add(
    place: Place,
    manifest: Manifest,
    presence: Presence,
    name: str,
    path: Path,
    facts: Facts,
    selection: Selection,
) -> Added:
    """Register a file or folder as the next version of a family.

    Raises as ``ModelRegistry.add`` says.
    """
    check_family(name)
    manifest.refuse_closed(name)
    store, notes = presence.writable(), Notes(place.cache)
    _refuse_own(path, store)
    if path.is_dir():
        folder = SourceFolder(path, selection, own=store.folder)
        folder.settle(notes)
        _check_space(store, path, folder)
        added = _carried_out(place, manifest, store, name, folder, facts)
        digests = {file.path: file.digest for file in files_of(store, added.artifact)}
        for file in folder.models:
            notes.note(path / file.path, added.id, digests[file.path], file.status)
        notes.note(path, added.id, added.artifact.digest, os.stat(path))
        notes.save()
        return added
    if selection != ALL:
        raise UsageError(
            f"'{path}' is no folder", hint="--include and --exclude choose files of a folder"
        )
    with SourceFile(path) as source:
        source.settle(notes)
        _check_space(store, path, source)
        added = _carried_out(place, manifest, store, name, source, facts)
        notes.note(path, added.id, added.artifact.digest, source.status)
    notes.save()
    return added


def _refuse_own(path: Path, store: Store) -> None:
    # A file may be a link into ``.git``, as git-annex makes them; a folder would be read there.
    if is_tools_own(Path(os.path.realpath(path)) if path.is_dir() else path, store.folder):
        raise UsageError(
            f"'{path}' lies in what belongs to mvc or git",
            hint="name a file of your own; a version that is there: mvc add FAMILY --from REF",
        )


def _check_space(store: Store, path: Path, source: SourceFile | SourceFolder) -> None:
    """Refuse what does not fit; where not all would, it is read to see what the store lacks."""
    free, lacking = fileio.free_space(store.folder), source.size
    if free < lacking + SPACE_BESIDE and free >= SPACE_OF_RECORD and store.index.names:
        counted = Lacking(store)
        _read(source, counted)
        lacking = counted.size
    if free < (lacking + SPACE_BESIDE if lacking else SPACE_OF_RECORD):
        needs = "needs 128 KiB for its record alone"
        if free >= SPACE_OF_RECORD:
            needs = f"has {lacking:,} bytes to store and needs 1 MiB beside"
        raise MvcError(
            f"'{path}' {needs}, only {free:,} are free in '{store.folder}'",
            hint="free some space: mvc du shows what mvc gc, gc --grace 0 or gc --cache frees",
        )


def add_from(
    place: Place, manifest: Manifest, presence: Presence, name: str, origin: Origin, facts: Facts
) -> Added:
    """Register an earlier version's file again. Raises as ``ModelRegistry.add`` says."""
    check_family(name)
    manifest.refuse_closed(name)
    return _carried_out(place, manifest, presence.writable(), name, origin, facts)


def _carried_out(
    place: Place,
    manifest: Manifest,
    store: Store,
    name: str,
    source: SourceFile | SourceFolder | Origin,
    facts: Facts,
) -> Added:
    added = fileio.run(add_steps(place, manifest, store, name, source, facts))
    tidy(store)
    return added


def add_steps(
    place: Place,
    manifest: Manifest,
    store: Store,
    name: str,
    source: SourceFile | SourceFolder | Origin,
    facts: Facts,
) -> Steps[Added]:
    """The protocol of ``add``; ``version linked`` is its commit point."""
    origin = source if isinstance(source, Origin) else None
    lineage, parents = _lineage(manifest, facts, origin)
    check = _requirement(manifest, name, facts, lineage, origin)
    check()
    before = _family_or_none(manifest, name)
    above = highest_given(place, manifest, store, name, before.highest if before else 0)
    transaction = Transaction(store)
    try:
        yield from _begun(place, transaction)
        if isinstance(source, Origin):
            got = reuse(store, source.record, transaction)
        elif known := again(source, manifest, store, transaction):
            got = known
        else:
            near = nearest(manifest, before, parents)
            got = _read(source, transaction, Relatives(transaction, store, near))
        yield "objects"
        _look_over(facts, got)
        record = _record(before.name if before else name, transaction.id, got, facts, lineage)
        wanted: IfChanged = False if transaction.anything_new else facts.if_changed
        number, old = 0, unchanged(manifest, before, record, wanted)
        if old is None:
            check()  # reading took its time
            data = read_again(records.encode(record), records.decode)
            yield from transaction.publish(place.id, data)
            others = Meanwhile(manifest, record, facts.if_changed)
            with _taken_back(transaction, place.id, data, others):
                number = yield from manifest.create_version(name, data, check, above, others.serve)
            old = others.answer
        if old is not None:
            _settle(place, manifest, store, name)
            number, record = old
    finally:
        transaction.end()
    untagged = yield from _tag_all(manifest, folder_of(name), number, facts)
    family = _family_after(manifest, before, name, number)
    _warn_of_guess(before, family)
    alike: tuple[str | None, str | None] = (None, None)
    # What shares no chunk with anything is like nothing; a small file is one chunk.
    if old is None and (transaction.reused or got.artifact.size <= CHUNK_SIZE):
        alike = earlier_like(manifest, folder_of(name), number, got.artifact.digest, got.weights)
    return Added(
        **view(family, number, record, True),
        stored=transaction.stored if old is None else 0,
        reused=transaction.reused,
        new=old is None,
        same_bytes=alike[0],
        same_weights=alike[1],
        untagged=untagged,
        notes=got.notes,
    )


def _begun(place: Place, transaction: Transaction) -> Steps[None]:
    """Begin a transaction in a store that is still the registry's then."""
    yield from transaction.begin()
    check_store(place)


@contextlib.contextmanager
def _taken_back(
    transaction: Transaction, registry: str, record: bytes, others: Meanwhile
) -> Iterator[None]:
    """Leave no root of a record that is refused its name, or needs none."""
    try:
        yield
    except Refused:
        transaction.take_back(registry, record)
        raise
    if others.answer is not None:
        transaction.take_back(registry, record)


def _read(
    source: SourceFile | SourceFolder, sink: Sink, relatives: Relatives | None = None
) -> Ingested:
    if isinstance(source, SourceFolder):
        return ingest_folder(source, sink, relatives)
    return ingest(source, sink, relatives)


def _requirement(
    manifest: Manifest,
    name: str,
    facts: Facts,
    lineage: Mapping[str, Value],
    origin: Origin | None,
) -> Callable[[], None]:
    """Return what raises ``Refused`` while a version with these facts must not be made."""
    if facts.require is None:
        return lambda: None
    said = {
        "metrics": facts.metrics,
        "params": facts.params,
        "lineage": lineage,
        "labels": facts.labels,
        "model": _model(facts, facts.framework),
        "message": facts.message,
        "author": environment.author(),
    }
    source = None if origin is None else origin.record
    return requirement.of_new(manifest, name, said, source, facts.require, facts.tags).check


def _look_over(facts: Facts, got: Ingested) -> None:
    """Refuse what may run code, if that is wanted; warn of what may be no whole model."""
    artifact = got.artifact
    if facts.refuse_code and artifact.safety is not None and artifact.safety.may_run_code:
        raise Refused(
            f"loading '{artifact.name}' {artifact.safety}",
            hint="without --refuse-code it is stored all the same; mvc runs nothing of it",
        )
    for doubt in got.doubts:
        warn(doubt, ModelWarning)


def _record(
    family: str, identity: str, got: Ingested, facts: Facts, lineage: Mapping[str, Value]
) -> Record:
    return Record(
        family=family,
        id=identity,
        created=now(),
        artifact=got.artifact,
        weights=got.weights,
        model=_model(facts, facts.framework or got.framework),
        metrics=facts.metrics,  # type: ignore[arg-type]  # Facts made them plain numbers
        params=facts.params,
        lineage=lineage,
        labels=facts.labels,
        message=facts.message,
        author=environment.author(),
    )


def _model(facts: Facts, framework: str | None) -> dict[str, Value]:
    model: dict[str, Value] = {
        "framework": framework,
        "architecture": facts.architecture,
        "input_shape": None if facts.input_shape is None else list(facts.input_shape),
    }
    return {name: value for name, value in model.items() if value is not None}


def _lineage(
    manifest: Manifest, facts: Facts, origin: Origin | None
) -> tuple[dict[str, Value], list[Record]]:
    """Return the lineage that a record is to have, and the records of the parents in use."""
    made_from = [parent_of(manifest, ref) for ref in facts.parents]
    for one in made_from:
        if one.gone:
            warn(f"the parent {one.id} was {one.gone}; it is noted all the same", MvcWarning)
    parents = [one.as_values() for one in made_from]
    source = origin.as_values() if origin else None
    if source is not None and source not in parents:
        parents.insert(0, source)
    given = {"dataset": None, "date": None, **facts.lineage}
    code: Value
    if "code" in given:
        code = given.pop("code")
    elif origin is not None:  # the code that made the weights, not the one that is here now
        code = origin.record.lineage.get("code")
    else:
        code = environment.code_state(Path.cwd())
    in_use = [one.record for one in made_from if not one.gone]
    return {**given, "parents": parents, "code": code, "source": source}, in_use


def _settle(place: Place, manifest: Manifest, store: Store, name: str) -> None:
    """Make durable what others published, before it is answered with."""
    folders = (store.folder / "packs", store.folder / "roots" / place.id)
    for folder in (*folders, manifest.family_folder(name) / "versions"):
        if folder.is_dir():
            fileio.sync_folder(folder)


def _tag_all(manifest: Manifest, family: str, number: int, facts: Facts) -> Steps[tuple[str, ...]]:
    untagged = []
    for tag in facts.tags:
        try:
            yield from changes.tag_steps(manifest, family, number, tag)
        except (MvcError, OSError) as error:
            untagged.append(tag)
            warn(
                f"{family}/v{number} is stored, but was not tagged '{tag}': {in_words(error)}",
                MvcWarning,
            )
    return tuple(untagged)


def _warn_of_guess(before: Family | None, after: Family) -> None:
    rule = after.rule
    if rule and rule.source == "guessed" and not (before and before.rule):
        warn(
            f"'best' now means the highest '{rule.metric}'; "
            f"mvc best {after.name} {rule.metric} --min or --max says which is right",
            MvcWarning,
        )


def _family_after(manifest: Manifest, before: Family | None, name: str, number: int) -> Family:
    """Return the state of the family; what is wrong with it cannot undo the commit."""
    try:
        return families.with_new(manifest, before, name, number)
    except (MvcError, OSError) as error:
        warn(f"{name}/v{number} is stored, but: {in_words(error)}", MvcWarning)
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
        number = float_of(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise UsageError(
            f"metric '{name}' is {str(value)[:80]!r}, which is no number",
            hint="a metric is NAME=NUMBER, as in acc=0.95",
        ) from None
    if math.isfinite(number):
        return number
    warn(f"metric '{name}' is {number}: it is kept, but never best", MvcWarning)
    return str(number)


def _code(commit: Any) -> Value:
    """Return a git commit, as text or as a number where it has no letter, as a record has it."""
    text = str(commit).lower()
    if not _COMMIT.match(text):
        raise UsageError(
            f"{text[:80]!r} is no git commit, which the lineage has for code",
            hint="as in -l code=9b1f0c7; what the code is, another name may say",
        )
    return {"git": text, "dirty": False}


def _public(name: str, text: str) -> str:
    """Return text without the passwords of URLs in it: nothing leaves a record again."""
    kept = _PASSWORD.sub(r"\1@", text)
    if kept != text:
        warn(f"'{name}' has a URL with a password, which is left out", MvcWarning)
    return kept


def _value(name: str, value: Any) -> Value:
    """Return a parameter as a record can hold it: JSON, non-finite numbers as text."""
    if isinstance(value, Mapping):
        return {check_key(str(key)): _value(name, item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_value(name, item) for item in value]
    if isinstance(value, str):
        return _public(name, value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # a scalar of numpy or torch
        item = value.item()
        return _value(name, float_of(value) if isinstance(item, float) else item)
    return str(value)
