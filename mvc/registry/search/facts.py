"""Facts: what of a version can be asked for, and under which names.

A record is laid out flat: ``metrics.acc``, ``params.optimizer.name``, each
with its values, of which a list gives several. What a family says of a
version, such as its tags, is laid out beside it.

Names and their order: ``docs/search.md``.
Public names: ``Values``, ``Facts``, ``facts_of``, ``laid_out``, ``standing``, ``full_names``,
``STANDING``, ``BARE``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from mvc.registry.family import Family
from mvc.registry.record import Record

# Arithmetic makes decimals of numbers; a record holds none.
Values: TypeAlias = "tuple[int | float | Decimal | str, ...]"
Facts: TypeAlias = "dict[str, Values]"

# What a family says of a version; all else stands in its record.
STANDING = ("family", "version", "number", "id", "tag", "latest", "best")
GROUPS = ("metrics", "params", "lineage", "labels", "model")
OF_A_VERSION = ("created", "author", "message", "weights")
OF_THE_ARTIFACT = ("name", "size", "digest", "format", "kind", "files", "tensors", "parameters")
# Names that mean the same whatever metrics and parameters are called.
BARE = {
    **{name: name for name in (*STANDING, *OF_A_VERSION)},
    **{name: f"artifact.{name}" for name in OF_THE_ARTIFACT},
    "tags": "tag",
    "file": "artifact.name",
    "dtype": "artifact.dtypes",
    "framework": "model.framework",
    "architecture": "model.architecture",
    "parent": "lineage.parents.id",
}


def full_names(name: str) -> tuple[str, ...]:
    """Return what a name may mean; of these the first counts that a version has."""
    if name in BARE:
        return (BARE[name],)
    if name.partition(".")[0] in (*GROUPS, "artifact") and "." in name:
        return (name,)
    return tuple(f"{group}.{name}" for group in GROUPS)


def facts_of(record: Record) -> Facts:
    """Lay out what a record says."""
    artifact = record.artifact
    values: dict[str, Any] = {name: getattr(record, name) for name in (*OF_A_VERSION, *GROUPS)}
    values["weights"] = record.weights and str(record.weights)
    values["artifact"] = {name: getattr(artifact, name) for name in OF_THE_ARTIFACT}
    values["artifact"] |= {"digest": str(artifact.digest), "dtypes": list(artifact.dtypes or ())}
    return laid_out(values)


def laid_out(values: Mapping[str, Any]) -> Facts:
    """Lay out values flat: those in others under ``outer.inner``, those of a list together."""
    found: Facts = {}
    for name, value in _flat("", values):
        found[name] = (*found.get(name, ()), value)
    return found


def standing(family: Family, name: str, numbers: Iterable[int]) -> dict[int, Values]:
    """Return what a family says of its versions under one of the names in ``STANDING``."""
    if name == "tag":
        bearing: dict[int, Values] = {}
        for tag, number in family.tags.items():
            bearing[number] = (*bearing.get(number, ()), tag)
        return bearing
    if name == "number":
        return {number: (number,) for number in numbers}
    if name in ("latest", "best"):
        chosen = family.latest if name == "latest" else family.best and family.best[0]
        return {number: ("true" if number == chosen else "false",) for number in numbers}
    texts = {"family": "{0}", "version": "v{1}", "id": "{0}/v{1}"}
    return {number: (texts[name].format(family.name, number),) for number in numbers}


def _flat(name: str, value: Any) -> Iterator[tuple[str, int | float | str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}" if name else key, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(name, item)
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    elif value is not None:
        yield name, value
