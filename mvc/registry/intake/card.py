"""Cards: what a user writes about a version in a YAML file of their own.

::

    metrics: {acc: 0.95}
    params: {lr: 0.001}
    lineage: {dataset: imagenet-1k, date: 2026-11-20}
    message: longer schedule

The keys are those of ``ModelRegistry.add``. This is the one place that reads
YAML as people write it; aliases and keys that stand twice are refused, since
nobody means them and they can ask for endless work.

Public names: ``KEYS``, ``read``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvc.errors import UsageError
from mvc.registry.intake.source import SourceFile
from mvc.registry.names import near

MAX_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value is, and what each item of it is, in types and in words."""

    outer: type
    inner: type
    words: str


_EXAMPLE = 'as in a line  metrics: {"acc": 0.95}'
_PAIRS = Shape(dict, str, "NAME: VALUE pairs")
_TEXT = Shape(str, str, "text")
KEYS: Mapping[str, Shape] = {
    "metrics": _PAIRS,
    "params": _PAIRS,
    "lineage": _PAIRS,
    "labels": _PAIRS,
    "parents": Shape(list, str, "a list of refs"),
    "tags": Shape(list, str, "a list of names"),
    "input_shape": Shape(list, int, "a list of whole numbers"),
    "framework": _TEXT,
    "architecture": _TEXT,
    "message": _TEXT,
}


def read(path: Path) -> dict[str, Any]:
    """Return what a card says, by the names of ``ModelRegistry.add``.

    Raises:
        NotFound: There is no such file.
        UsageError: It is no YAML, or says what no version has; the place is named.
        OSError: It cannot be read.
    """
    with SourceFile(path) as source:
        if source.size > MAX_SIZE:
            raise UsageError(
                f"'{path}' has {source.size:,} bytes, at most {MAX_SIZE:,} are read",
                hint="--meta takes a short file of metrics, params and the like; is it the model?",
            )
        values = _load(source.read(0, source.size), path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"'{path}' does not say NAME: VALUE", hint=f"it may say {', '.join(KEYS)}")
    for name, value in values.items():
        if name not in KEYS:
            hint = near(str(name), KEYS) or f"it may say {', '.join(KEYS)}"
            raise UsageError(f"'{path}' says '{name}', which no version has", hint=hint)
        if not _fits(value, KEYS[name]):
            raise UsageError(f"'{path}': '{name}' is not {KEYS[name].words}", hint=_EXAMPLE)
    return values


def _fits(value: Any, shape: Shape) -> bool:
    """Say whether a value has its shape, and the items of a list, or the names of pairs, theirs."""
    items: Iterable[Any] = value
    return type(value) is shape.outer and all(type(item) is shape.inner for item in items)


def _load(data: bytes, path: Path) -> Any:
    import yaml

    try:
        return yaml.load(data, Loader=_loader(yaml))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}" if mark else ""
        raise UsageError(f"'{path}' is no YAML{where}: {error.problem}", hint=_EXAMPLE) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = str(error).partition("\n")[0][:80]
        words = f"'{path}' is no YAML: {said or 'nested too deep'}"
        raise UsageError(words, hint=_EXAMPLE) from None


def _loader(library: Any) -> Any:
    class Loader(library.SafeLoader):  # type: ignore[misc]  # the library is imported when used
        """Plain YAML without aliases and without keys that stand twice."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(library.AliasEvent):
                mark = self.peek_event().start_mark
                raise library.MarkedYAMLError(problem="an alias", problem_mark=mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            for place, name in enumerate(names):
                if name in names[:place]:
                    mark = node.value[place][0].start_mark
                    raise library.MarkedYAMLError(
                        problem=f"'{name}' stands twice", problem_mark=mark
                    )
            return super().construct_mapping(node, deep=deep)

    return Loader
