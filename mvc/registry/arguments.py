"""Arguments: what a call in Python was given is of the kind that its signature says.

Looked at once, for every public method, before anything is done: what is wrong
is told by its name, and never comes to a file. Values by name, refs, lengths of time
and what stands in a list of numbers are looked at where they are read.

Public names: ``checking``.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import index
from typing import Any, ParamSpec, TypeVar

from mvc.errors import UsageError
from mvc.system_errors import public_methods

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be, in words and as it is written."""

    words: str
    example: str
    fits: Callable[[object], bool]


def _is_count(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and index(value) >= 0
    except TypeError:
        return False


def _is_path(value: object) -> bool:
    return isinstance(value, os.PathLike) or (isinstance(value, str) and value != "")


def _are_texts(value: object) -> bool:
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, Iterable) and not isinstance(value, (Mapping, bytes))


# By the words of a signature; what has another is not looked at here.
KINDS = {
    "str": Kind("text", '"text"', lambda value: isinstance(value, str)),
    "bool": Kind("True or False", "True", lambda value: isinstance(value, bool)),
    "int": Kind("a whole number from 0", "5", _is_count),
    "AnyPath": Kind("a path", '"folder"', _is_path),
    "Sequence[str]": Kind("a list of texts", '["a", "b"]', _are_texts),
    "Sequence[int]": Kind(
        "a list of numbers", "(1, 3, 224, 224)", lambda value: isinstance(value, Iterable)
    ),
    "None": Kind("None", "None", lambda value: value is None),
}


def checking(kind: type[C]) -> type[C]:
    """Let the public methods of a class refuse what is not of the kind that they say.

    A class decorator.
    """
    for name, method in public_methods(kind):
        setattr(kind, name, _checking(method))
    return kind


def _checking(method: Callable[P, R]) -> Callable[P, R]:
    code = method.__code__
    names = code.co_varnames[: code.co_argcount]
    words = {name: str(said).split(" | ") for name, said in method.__annotations__.items()}
    kinds = {
        name: [KINDS[word] for word in said]
        for name, said in words.items()
        if KINDS.keys() >= set(said)
    }

    @functools.wraps(method)
    def call(*args: P.args, **given: P.kwargs) -> R:
        for name, value in (*zip(names, args, strict=False), *given.items()):
            if name in kinds and not any(kind.fits(value) for kind in kinds[name]):
                raise _wrong(method, names[1:], name, value, kinds[name][0])
        return method(*args, **given)

    return call


def _wrong(
    method: Callable[..., Any], names: tuple[str, ...], name: str, value: object, kind: Kind
) -> UsageError:
    plain = isinstance(value, (str, bytes, int, float, type(None)))
    shown = f"{value!r:.60}" if plain else f"of type {type(value).__name__}"
    called = method.__name__ if method.__name__ != "__init__" else "ModelRegistry"
    hint = f"{name}={kind.example}"
    if name in names:
        hint = f"{called}({', '.join(names[: max(names.index(name) + 1, 2)])})"
    if kind.words == "a path" and (isinstance(value, Mapping) or hasattr(value, "state_dict")):
        hint = "save(name, model) registers a torch module or a state dict"
    if name == "name" and isinstance(getattr(value, "family", None), str):
        hint = f"{called}(version.family)"
    if kind.fits is _is_path and value == "":
        return UsageError(f"'{name}' is empty", hint=f"{name}='.' is the working folder")
    return UsageError(f"'{name}' is {shown}, and not {kind.words}", hint=hint)
