"""Refs: what a user types to mean a version.

::

    family [ "@" selector ] [ "~" N ] [ ":" path ]      or   family/vN …
    selector = vN | latest | best[.metric] | tag[@{when}] | b3:<8 to 64 hex>

A ref is only words here; ``mvc.registry.resolve`` says which version it is. In
Python a version stands for the ref that its id is.

Public names: ``AnyRef``, ``Ref``, ``parse``, ``names_file``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from mvc.digest import PREFIX
from mvc.errors import NotFound, UsageError
from mvc.registry.names import NAME, check_family, check_metric, check_tag

_FAMILY = re.compile(NAME)
_NUMBER = re.compile(r"[vV]([1-9][0-9]{0,8})(?![A-Za-z0-9._-])")
_LATEST = re.compile(r"(?i:latest)(?=[~:]|\Z)")
_BEST = re.compile(r'(?i:best)(?:\.(?:"([^"]+)"|([A-Za-z0-9_./@-]+)))?(?=[~:]|\Z)')
_DIGEST = re.compile(r"b3:([0-9A-Fa-f]{8,64})(?=[~:]|\Z)")
_TAG = re.compile(rf"({NAME})(?:@\{{([^{{}}]+)\}})?(?=[~:]|\Z)")
_BACK = re.compile(r"~([0-9]{1,9})?")


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


AnyRef: TypeAlias = "str | _Identified"
"""A ref as text, or a ``Version``."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A ref taken apart; of ``number``, ``best``, ``tag`` and ``digest`` at most one is set.

    ``metric`` and ``when`` belong to ``best`` and ``tag``; with nothing set
    the ref means ``latest``. ``explicit`` tells ``family@latest`` from ``family``.
    """

    text: str
    family: str
    number: int | None = None
    best: bool = False
    metric: str | None = None
    tag: str | None = None
    when: str | None = None
    digest: str | None = None
    back: int = 0
    path: str | None = None
    explicit: bool = False

    @property
    def exact(self) -> bool:
        """Whether the ref names one version by its number and nothing else."""
        return self.number is not None and not self.back and self.path is None


def parse(ref: AnyRef) -> Ref:
    """Take a ref apart.

    Raises:
        UsageError: It does not follow the grammar; the hint shows what was meant.
    """
    text = ref if isinstance(ref, str) else getattr(ref, "id", None)
    if not isinstance(text, str):
        hint = 'write "FAMILY@VERSION", as in "resnet18@best", or give a Version'
        raise UsageError(f"{ref!r:.80} is not a ref", hint=hint)
    match = _FAMILY.match(text)
    if match is None:
        example = f"FAMILY{text}" if text.startswith("@") else "FAMILY@VERSION, as in resnet18@best"
        raise UsageError(f"'{text}' is not a ref", hint=f"write {example}")
    family = check_family(match.group())
    rest = text[match.end() :]
    fields: dict[str, object] = {}
    if rest[:1] in ("@", "/"):
        fields, rest = _selector(text, rest[0], rest[1:])
    back = _BACK.match(rest)
    if back:
        fields["back"] = int(back.group(1) or 1)
        rest = rest[back.end() :]
    if rest.startswith(":") and len(rest) > 1:
        fields["path"] = rest[1:]
    elif rest:
        raise UsageError(
            f"'{text}' is not a ref: {rest!r} was not expected",
            hint="FAMILY@SELECTOR~N:PATH, as in resnet18@v3 or resnet18@best~1",
        )
    return Ref(text, family, **fields)  # type: ignore[arg-type]  # one table of typed fields


def names_file(text: str, family: Callable[[str], object]) -> bool:
    """Say whether a file is meant where a ref may stand too.

    It is by how it begins; or because it is there, and ``family`` finds none of that name.
    """
    if text.startswith(("/", ".")):
        return True
    if not os.path.lexists(text):
        return False
    try:
        family(parse(text).family)
    except (NotFound, UsageError):
        return True
    return False


def _selector(text: str, mark: str, rest: str) -> tuple[dict[str, object], str]:
    if match := _NUMBER.match(rest):
        return {"number": int(match.group(1)), "explicit": True}, rest[match.end() :]
    if mark == "/":
        raise UsageError(
            f"'{text}' is not a ref", hint="after / comes a version, as in resnet18/v3"
        )
    if match := _LATEST.match(rest):
        return {"explicit": True}, rest[match.end() :]
    if match := _BEST.match(rest):
        metric = match.group(1) or match.group(2)
        fields = {"best": True, "metric": metric and check_metric(metric), "explicit": True}
        return fields, rest[match.end() :]
    if match := _DIGEST.match(rest):
        return {"digest": match.group(1).lower(), "explicit": True}, rest[match.end() :]
    if (match := _TAG.match(rest)) and not rest.startswith(PREFIX):
        if re.fullmatch(r"[0-9]+", match.group(1)):
            raise UsageError(
                f"'{text}' is not a ref",
                hint=f"a version is written with a v: {text[: len(text) - len(rest)]}v{rest}",
            )
        if re.fullmatch("[vV]0[0-9]*", match.group(1)):
            hint = f"versions are numbered from v1, as in {text[: len(text) - len(rest)]}v1"
            raise UsageError(f"'{text}' is not a ref", hint=hint)
        tag = check_tag(match.group(1))
        return {"tag": tag, "when": match.group(2), "explicit": True}, rest[match.end() :]
    raise UsageError(
        f"'{text}' is not a ref: '{rest}' selects nothing",
        hint="after @ comes vN, latest, best, best.METRIC, a tag, or b3: and 8 or more hex digits",
    )
