"""Origin: a version that another is made from: its file, or only its name.

Whose file is taken must be in use. A parent is lineage, which needs no bytes: it
may be withdrawn, or released, and is named all the same.

Public names: ``Origin``, ``origin_of``, ``parent_of``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mvc.digest import Digest
from mvc.lines import Value
from mvc.registry import reach, resolve
from mvc.registry.manifest import Manifest
from mvc.registry.record import Record
from mvc.registry.refs import AnyRef

_OWN_LINEAGE = ("parents", "code", "source")


@dataclass(frozen=True, slots=True)
class Origin:
    """A version that another is made from, with its record and the record's digest.

    ``gone`` says since when it is out of use, if it is.
    """

    id: str
    record: Record
    digest: Digest
    gone: str | None = None

    def as_values(self) -> dict[str, Value]:
        """Return how a record names a version."""
        return {"id": self.id, "record": str(self.digest)}

    def inherited(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``given`` over what this version's record says of its weights.

        Model, parameters and lineage are about the weights and stay; metrics,
        labels, message and tags are about a version and do not.
        """
        own = {name: v for name, v in self.record.lineage.items() if name not in _OWN_LINEAGE}
        model = self.record.model
        return {
            **given,
            "params": {**self.record.params, **given["params"]},
            "lineage": {**own, **given["lineage"]},
            "framework": given["framework"] or model.get("framework"),
            "architecture": given["architecture"] or model.get("architecture"),
            "input_shape": given["input_shape"] or model.get("input_shape"),
        }


def origin_of(manifest: Manifest, ref: AnyRef) -> Origin:
    """Return the version whose file another is to have.

    Raises as ``resolve`` does.
    """
    return _named(manifest, ref, withdrawn=False)


def parent_of(manifest: Manifest, ref: AnyRef) -> Origin:
    """Return the version that another was made from, which may be out of use by now.

    Raises as ``resolve`` does.
    """
    return _named(manifest, ref, withdrawn=True)


def _named(manifest: Manifest, ref: AnyRef, *, withdrawn: bool) -> Origin:
    family, number = resolve.resolve(manifest, ref, whole=True, withdrawn=withdrawn)
    record, digest = manifest.record(family.folder, number)
    gone = None
    if number in family.withdrawn:
        gone = reach.told(*reach.standings(manifest, family.folder)[number])
    return Origin(f"{family.name}/v{number}", record, digest, gone)
