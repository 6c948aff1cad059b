"""Sources: what may be imported from, and how each kind gets here.

A new kind is one module with a function as ``web.bring``, and one line in
the table.

Public names: ``Wish``, ``Brought``, ``bring``, ``family_of``, ``said_of``.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvc.errors import UsageError
from mvc.registry.imports.address import without_login
from mvc.registry.imports.cached import Restore

# Modules, imported when a source of theirs is asked for.
KINDS = {
    "http": "mvc.registry.imports.web",
    "https": "mvc.registry.imports.web",
    "hf": "mvc.registry.imports.hub",
    "torchvision": "mvc.registry.imports.torchvision",
}
EXAMPLES = "hf:org/name, torchvision:resnet18 or https://example.org/model.pt"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: a source as it was typed, and how much of it.

    ``restore`` brings back what is not in ``cache`` any more, where it can.
    """

    source: str
    cache: Path
    revision: str | None = None
    sha256: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    offline: bool = False
    restore: Restore = lambda slot: None


@dataclass(frozen=True, slots=True)
class Brought:
    """A file or folder that is here now, and what its source says of it.

    ``imported`` is what lineage keeps, ``facts`` what else ``add`` is told;
    ``received`` are the bytes that came just now, ``notes`` what should be known.
    """

    path: Path
    imported: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    received: int = 0
    notes: tuple[str, ...] = ()


def bring(wish: Wish) -> Brought:
    """Have what is asked for here, downloading what is not.

    Raises:
        UsageError: It is no source, or not asked for as its kind can be.
        NotFound: It is not here, and nothing may be downloaded.
        RemoteFailed: It cannot be had.
    """
    found: Brought = _kind(wish.source).bring(wish)
    return found


def family_of(source: str) -> str:
    """Return the family that a source's name suggests; empty if none. Nobody is asked."""
    found: str = _kind(source).family_of(source)
    return found


def said_of(brought: Brought, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts for ``add``: what the user told, over what the source says."""
    said = {**brought.facts, **{name: value for name, value in told.items() if value}}
    for group in ("metrics", "params", "lineage"):
        said[group] = {**brought.facts.get(group, {}), **(told.get(group) or {})}
    said["lineage"]["imported"] = brought.imported
    return said


def _kind(source: str) -> Any:
    kind = source.partition(":")[0].lower()
    if kind in KINDS:
        return importlib.import_module(KINDS[kind])
    shown = without_login(source)
    if os.path.lexists(source):
        raise UsageError(f"'{shown}' is here already", hint=f"mvc add FAMILY {shown}")
    hint = f"as in {EXAMPLES}"
    if re.match(r"(localhost|[\w-]+(\.[\w-]+)+)(:\d+)?/", source):
        hint = f"mvc import https://{shown}"
    elif re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", source):
        hint = f"mvc import hf:{source}"
    raise UsageError(f"'{shown}' is no source that mvc knows", hint=hint)
