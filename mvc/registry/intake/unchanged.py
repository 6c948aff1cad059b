"""Unchanged: which version answers where none is to be made of what is there already.

Public names: ``IfChanged``, ``unchanged``, ``Meanwhile``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, TypeAlias

from mvc.registry import record as records
from mvc.registry.alike import Like, versions_like
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.record import Record

IfChanged: TypeAlias = "bool | Literal['any']"
"""``any``: of the versions that are not withdrawn, the first of the same bytes, whatever is said
of it. True: the latest, if it says the same."""


def unchanged(
    manifest: Manifest, before: Family | None, record: Record, if_changed: IfChanged
) -> tuple[int, Record] | None:
    """Return the version that is to answer for a record, if that was asked for.

    What was imported may be any that says the same: a set-up that is run again finds its own.
    """
    if not if_changed or before is None or before.latest is None:
        return None
    numbers: Iterable[int] = before.live(manifest)
    if if_changed != "any":
        numbers = reversed([*numbers]) if "imported" in record.lineage else [before.latest]
    return _same_among(manifest, before.folder, numbers, record, if_changed)


class Meanwhile:
    """The versions that others make while a record waits for its number; one may answer for it."""

    def __init__(self, manifest: Manifest, record: Record, if_changed: IfChanged) -> None:
        self._manifest, self._record, self._if_changed = manifest, record, if_changed
        self.answer: tuple[int, Record] | None = None

    def serve(self, number: int) -> bool:
        """Say whether the version that has this number now will do."""
        if self._if_changed:
            self.answer = _same_among(
                self._manifest, self._record.family, [number], self._record, self._if_changed
            )
        return self.answer is not None


def _same_among(
    manifest: Manifest, folder: str, numbers: Iterable[int], record: Record, if_changed: IfChanged
) -> tuple[int, Record] | None:
    digest = record.artifact.digest
    for like in versions_like(manifest, [digest], [(folder, numbers)]):
        if if_changed == "any" and like.record.artifact.digest == digest:
            return like.number, like.record
        if _said(like.record) == _said(_beside(record, like)):
            return like.number, like.record
    return None


def _beside(record: Record, like: Like) -> Record:
    """Return a record without its parent if that is the version like it: nothing was done to it."""
    if [parent["id"] for parent in record.lineage["parents"]] != [like.id]:
        return record
    return replace(record, lineage={**record.lineage, "parents": like.record.lineage["parents"]})


def _said(record: Record) -> bytes:
    """Write a record without what differs each time: who, when, the code's state, the label."""
    differing = ("code", "imported")
    lineage = {name: value for name, value in record.lineage.items() if name not in differing}
    artifact = replace(record.artifact, safety=None)  # a newer mvc may judge otherwise
    said = replace(record, lineage=lineage, artifact=artifact)
    return records.encode(replace(said, id="", created="", author="", family=""))
