"""What commands print with ``--json``, held against the schemas in ``docs/json``.

Public names: ``FOLDER``, ``NAMES``, ``schema``, ``faults``, ``name_of``, ``check``,
``check_shown``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

FOLDER = Path(__file__).parents[2] / "docs" / "json"
SUFFIX = ".schema.json"
NAMES = sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))
WITH_VALUES = ("-C", "--store")
# One value as it is printed: it begins and ends with a line of its own.
_PRINTED = re.compile(r"^(?:\[\]|[\[{]$.*?^[\]}])$", re.MULTILINE | re.DOTALL)


def schema(name: str) -> Any:
    """Return a schema as its file says it."""
    return json.loads((FOLDER / f"{name}{SUFFIX}").read_text(encoding="utf-8"))


@cache
def _validator(name: str) -> Draft202012Validator:
    known = [(f"{one}{SUFFIX}", Resource.from_contents(schema(one))) for one in NAMES]
    registry: Registry[Any] = Registry().with_resources(known)
    return Draft202012Validator(schema(name), registry=registry)


def faults(name: str, value: Any) -> list[str]:
    """Say where a value does not follow a schema."""
    found = _validator(name).iter_errors(value)
    deepest = [min([error, *(error.context or ())], key=lambda e: -len(e.path)) for error in found]
    return [f"{error.json_path}: {error.message[:300]}" for error in deepest]


def name_of(arguments: Sequence[str]) -> str:
    """Return the name of the schema of what a command line prints."""
    words = iter(arguments)
    for word in words:
        if word in WITH_VALUES:
            next(words)
        elif not word.startswith("-"):
            rest = [word for word in words if not word.startswith("-")]
            return f"{word}-{rest[0]}" if word == "store" and rest else word
    return ""


def check_shown(arguments: Sequence[str], shown: str) -> None:
    """Like ``check``, of both streams in one, as a terminal shows them."""
    found = _PRINTED.search(shown)
    check(arguments, found.group() if found else "", shown)


def check(arguments: Sequence[str], out: str, err: str) -> None:
    """Assert that an answer follows its schema; where there is none, that the error does."""
    if "--json" not in arguments or "--help" in arguments:
        return
    name, text = (name_of(arguments), out) if out else ("error", err.splitlines()[-1])
    assert faults(name, json.loads(text)) == [], f"{list(arguments)} is not as {name}{SUFFIX} says"
