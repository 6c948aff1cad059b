"""Events: what happened to a family's versions, each written once and sealed.

Creating ``events/<n+1>.yaml`` is the compare-and-swap: of two who want the
same number one comes first, and the other reads what happened and decides anew.

Format: ``docs/formats/event.md``.
Public names: ``Event``, ``Tagged``, ``BestRule``, ``Policy``, ``Standing``, ``encode``,
``decode``, ``policy_of``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import NoneType
from typing import Any, TypeAlias

from mvc.digest import Digest
from mvc.errors import FormatError, Unsupported
from mvc.lines import Value
from mvc.registry.duration import LONGEST
from mvc.registry.sealed import Reader, sealed

MODES = ("max", "min")
STANDINGS = ("withdrawn", "restored", "released")

# In a policy.
MOST_SECONDS = int(LONGEST.total_seconds())
_VERSION = re.compile(r"v[1-9][0-9]{0,8}\Z")


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag was moved to ``version``, or deleted where that is ``None``.

    ``undoes`` is the number of the oldest move that a rollback took back.
    """

    tag: str
    version: int | None
    record: Digest | None
    undoes: int | None = None


@dataclass(frozen=True, slots=True)
class BestRule:
    """What ``best`` means from here on."""

    metric: str
    mode: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Which versions are kept from here on: those that any rule names; without a rule, all.

    The ``last`` N by number, the ``best`` N by the family's metric, those with a tag
    (always, said or not), those ``younger`` than so many seconds. ``grace`` is how many
    seconds a version withdrawn from here on can be restored, where it is not the usual time;
    ``after_add`` has ``add`` apply the policy.
    """

    last: int | None = None
    best: int | None = None
    tagged: bool = False
    younger: int | None = None
    grace: int | None = None
    after_add: bool = False

    @property
    def has_rules(self) -> bool:
        return self.tagged or any((self.last, self.best, self.younger))


@dataclass(frozen=True, slots=True)
class Standing:
    """A version was withdrawn, restored, or released for collection."""

    kind: str
    version: int
    record: Digest


Change: TypeAlias = Tagged | BestRule | Policy | Standing


@dataclass(frozen=True, slots=True)
class Event:
    """A change, when and by whom; ``number`` is its file's name and not written inside."""

    family: str
    id: str
    created: str
    change: Change
    author: str
    message: str | None = None
    number: int = 0


def encode(event: Event) -> bytes:
    """Write an event, sealed; equal events give equal bytes."""
    return sealed(
        {
            "family": event.family,
            "id": event.id,
            "created": event.created,
            "event": _change_values(event.change),
            "message": event.message,
            "author": event.author,
        }
    )


def decode(data: bytes, number: int) -> Event:
    """Read an event back.

    Raises:
        FormatError: The seal does not hold, or a field is wrong; it is named.
        Unsupported: A newer mvc wrote it.
    """
    reader = Reader(data, "the event")
    event = Event(
        family=reader.take("family", str),
        id=reader.take("id", str),
        created=reader.take_time("created"),
        change=_change(reader.take("event", dict)),
        message=reader.take("message", str, NoneType),
        author=reader.take("author", str),
        number=number,
    )
    reader.finish()
    return event


def policy_of(values: Mapping[str, Any]) -> Policy:
    """Read a policy; a rule that is not known might keep what the others do not.

    Raises:
        FormatError: A field is missing, unknown, or no value for it.
    """
    if set(values) == set(Policy.__slots__):
        policy = Policy(**values)
        numbers = ((policy.last, 1), (policy.best, 1), (policy.younger, 1), (policy.grace, 0))
        flags = policy.tagged, policy.after_add
        fits = all(_is_within(*pair) for pair in numbers) and all(type(f) is bool for f in flags)
        if fits and (policy.has_rules or policy == Policy()):
            return policy
    raise FormatError("the policy for what is kept is not one that this mvc knows")


def _is_within(value: object, least: int) -> bool:
    return value is None or (type(value) is int and least <= value <= MOST_SECONDS)


def _change_values(change: Change) -> dict[str, Value]:
    if isinstance(change, BestRule):
        return {"kind": "best", "metric": change.metric, "mode": change.mode}
    if isinstance(change, Policy):
        return {"kind": "keep", **asdict(change)}
    if isinstance(change, Standing):
        version = f"v{change.version}"
        return {"kind": change.kind, "version": version, "record": str(change.record)}
    return {
        "kind": "tagged",
        "tag": change.tag,
        "version": None if change.version is None else f"v{change.version}",
        "record": None if change.record is None else str(change.record),
        "undoes": change.undoes,
    }


def _change(values: Mapping[str, Any]) -> Change:
    kind = values.get("kind")
    if kind == "best" and _has(values, metric=str, mode=str) and values["mode"] in MODES:
        return BestRule(values["metric"], values["mode"])
    if kind == "keep":
        return policy_of({name: value for name, value in values.items() if name != "kind"})
    if kind in STANDINGS and _has(values, version=str, record=str):
        return Standing(str(kind), _number(values["version"]), Digest.parse(values["record"]))
    if kind == "tagged" and set(values) == {"kind", "tag", "version", "record", "undoes"}:
        return _tagged(values)
    if not isinstance(kind, str) or kind in ("best", "tagged", *STANDINGS):
        raise FormatError(f"the event does not say what one of kind {kind!r:.40} does")
    raise Unsupported(
        f"the event is of an unknown kind: {kind!r:.40}",
        hint="a newer mvc wrote it; upgrade to read it",
    )


def _tagged(values: Mapping[str, Any]) -> Tagged:
    version, record, undoes = values["version"], values["record"], values["undoes"]
    if type(values["tag"]) is not str or type(undoes) not in (int, NoneType):
        raise FormatError("the event moves no tag")
    if version is None and record is None:
        return Tagged(values["tag"], None, None, undoes)
    return Tagged(values["tag"], _number(version), Digest.parse(record), undoes)


def _has(values: Mapping[str, Any], **fields: type) -> bool:
    kinds = {"kind": str, **fields}
    return set(values) == set(kinds) and all(type(values[k]) is t for k, t in kinds.items())


def _number(text: object) -> int:
    if not isinstance(text, str) or not _VERSION.match(text):
        raise FormatError(f"not a version: {text!r:.40}")
    return int(text[1:])
