"""Complete: what may come next on a command line, for the shells' scripts of ``mvc completion``.

It reads names and derived files, never a store, and where anything is wrong
it has nothing to offer: whoever presses TAB is not to be told of errors.

What is answered, a line each: a kind, the word, and a few words about it,
with tabs between. The kinds, and what the scripts do with them: ``docs/terminal.md``.
Public names: ``answer``, ``offers``, ``words_of``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from mvc import environment

if TYPE_CHECKING:
    from mvc.registry.family import Family
    from mvc.registry.manifest import Manifest

# The name that an expression ends with: after a space, a bracket, or the @ of another version.
_LAST_NAME = re.compile(r"(.*@[^.\s]+\.|.*[\s(]|)([^\s(]*)", re.DOTALL)

MOST = 500
"""Words of one kind that are offered; nobody reads more."""

MOST_FAMILIES = 20
"""Families that are asked for tags and metrics where the line names none."""

PLAIN, OPEN, FILE, FOLDER = "plain", "open", "file", "dir"


def answer(shell: str, root: click.Command, arguments: Sequence[str]) -> Iterator[str]:
    """Yield what may come next, a line each.

    Args:
        shell: For ``bash`` the one argument is the line up to the cursor; else they
            are the words, of which the last is to be completed.
    """
    words, quoted = words_of(arguments[0]) if shell == "bash" else (list(arguments), False)
    if not words:
        return
    if shell == "bash":
        words = words[1:]  # the command's own name
        yield f"{'quoted' if quoted else 'word'}\t{words[-1] if words else ''}"
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ShellComplete(root, {"obj": words}, "mvc", "_MVC_COMPLETE")
        *before, typed = words
        option, equals, value = typed.partition("=")
        head = ""
        if equals and option.startswith("--"):
            before, typed, head = [*before, option], value, f"{option}="
        if before[-1:] == ["--sort"] and typed.startswith("-"):  # which begins no option here
            typed, head = typed[1:], f"{head}-"
        for item in found.get_completions(before, typed):
            if "\t" not in item.value and "\n" not in item.value:
                yield f"{item.type}\t{head}{item.value}\t{item.help or ''}"


def words_of(line: str) -> tuple[list[str], bool]:
    """Split a line up to its cursor; say whether that is in quotes. The last word may be empty."""
    words = split_arg_string(f"{line}x")  # so that what the cursor touches is a word
    quoted = False
    try:
        shlex.split(line.removesuffix("\\"))
    except ValueError:
        quoted = True
    return [*words[:-1], words[-1].removesuffix("x")], quoted


def offers(parameter: click.Parameter, ctx: click.Context, typed: str) -> list[CompletionItem]:
    """Return what may be given for a parameter."""
    kind = _kind_of(parameter, ctx)
    if kind in (FILE, FOLDER):
        return [CompletionItem(typed, type=kind)]
    if kind is None:
        return []
    found: list[CompletionItem] = []
    with contextlib.suppress(Exception):  # a path may look like a ref to what is not there
        if folder := ctx.find_root().params.get("folder"):
            os.chdir(environment.full_path(Path(folder)))
        found += _Names(ctx).of(kind, typed)
    if kind == "ref-or-file" and (not found or typed.startswith((".", "/", "~"))):
        found.append(CompletionItem(typed, type=FILE))
    return found


def _kind_of(parameter: click.Parameter, ctx: click.Context) -> str | None:
    """Return what is to be given: by the command, or by what the help calls it."""
    name, command = (parameter.metavar or parameter.name or "").upper(), ctx.command.name
    name = name.strip("[].…")
    if (command, name) == ("tag", "REF") and {"--delete", "--history"}.intersection(ctx.obj or ()):
        return "tagged"
    special = {
        ("rm", "REF"): "version",
        ("restore", "REF"): "withdrawn",
        ("rollback", "FAMILY@TAG"): "tagged",
    }
    kinds = {
        "FAMILY": "family", "REF": "ref", "REF|FILE": "ref-or-file", "METRIC": "metric",
        "NAME=NUMBER": "number", "-]NAME": "metric", "EXPR": "expression",
        "TAG": "tag", "VN": "vn", "VN|NONE": "vn",
        "PATH": FILE, "FILE.YAML": FILE, "FILE_OR_DIR": FILE, "FILE": FILE, "DIR": FOLDER,
    }  # fmt: skip
    return special.get((command or "", name)) or kinds.get(name)


class _Names:
    """Names in the registry that a command line is about."""

    def __init__(self, ctx: click.Context) -> None:
        from mvc.registry import ModelRegistry
        from mvc.registry.location import place

        self._ctx = ctx
        named = ctx.find_root().params.get("folder") is not None
        folder = environment.registry_folder() or place.find(Path.cwd(), named=named)
        self._manifest: Manifest = ModelRegistry(folder, create=False).manifest

    def of(self, kind: str, typed: str) -> Iterator[CompletionItem]:
        """Yield what begins with what was typed."""
        finders: dict[str, Callable[[str], Iterator[CompletionItem]]] = {
            "family": self._families,
            "metric": self._metrics,
            "number": self._metrics_with_value,
            "expression": self._in_expression,
            "tag": self._tags,
            "vn": self._numbers,
        }
        if kind in finders:
            yield from finders[kind](typed)
            return
        family, mark, rest = _cut(typed)
        if not mark:
            yield from self._families(typed, type=OPEN)
        elif rest.partition(":")[1]:
            yield from self._files(family, mark, rest)
        else:
            yield from self._selectors(family, mark, rest, kind)

    def _families(self, typed: str, type: str = PLAIN) -> Iterator[CompletionItem]:
        for name in self._manifest.families():
            if name.startswith(typed.lower()):
                yield CompletionItem(name, type=type)

    def _selectors(self, family: str, mark: str, rest: str, kind: str) -> Iterator[CompletionItem]:
        known = self._load(family)
        words: list[tuple[str, str]] = []
        if mark == "@" and kind in ("ref", "ref-or-file"):
            words += [("latest", f"v{known.latest}")] if known.latest else []
            if known.best and known.rule:
                words += [("best", f"v{known.best[0]}, {known.rule.metric} {known.best[1]:g}")]
            if rest.startswith("best."):
                words += [(f"best.{name}", "") for name in self._metric_names(known)]
        if mark == "@" and kind != "version" and kind != "withdrawn":
            words += [(tag, f"v{number}") for tag, number in sorted(known.tags.items())]
        if kind != "tagged":
            words += [(f"v{n}", "") for n in self._numbers_of(known, kind)]
        for word, about in words:
            if word.lower().startswith(rest.lower()):
                yield CompletionItem(f"{family}{mark}{word}", help=about)

    def _files(self, family: str, mark: str, rest: str) -> Iterator[CompletionItem]:
        from mvc.registry import resolve

        selector, _, path = rest.partition(":")
        found, number = resolve.resolve(self._manifest, f"{family}{mark}{selector}")
        for file in self._manifest.record(found.folder, number)[0].artifact.listing or ():
            if file.path.startswith(path):
                yield CompletionItem(f"{family}{mark}{selector}:{file.path}")

    def _numbers(self, typed: str) -> Iterator[CompletionItem]:
        for known in self._meant():
            for number in self._numbers_of(known, "ref"):
                if f"v{number}".startswith(typed):
                    yield CompletionItem(f"v{number}")

    def _numbers_of(self, known: Family, kind: str) -> list[int]:
        live = known.live(self._manifest)
        numbers = sorted(known.withdrawn) if kind == "withdrawn" else live
        return numbers[: -MOST - 1 : -1]

    def _tags(self, typed: str) -> Iterator[CompletionItem]:
        tags = {tag for known in self._meant() for tag in known.tags}
        for tag in sorted(tags):
            if tag.lower().startswith(typed.lower()):
                yield CompletionItem(tag)

    def _metrics(self, typed: str) -> Iterator[CompletionItem]:
        names = {name for known in self._meant() for name in self._metric_names(known)}
        for name in sorted(names):
            if name.startswith(typed):
                yield CompletionItem(name)

    def _metrics_with_value(self, typed: str) -> Iterator[CompletionItem]:
        for item in self._metrics(typed):
            yield CompletionItem(f"{item.value}=", type=OPEN)

    def _in_expression(self, typed: str) -> Iterator[CompletionItem]:
        """Yield the expression so far with a metric for its last word, also of another version."""
        before, name = _LAST_NAME.fullmatch(typed).groups()  # type: ignore[union-attr]  # any text
        for item in self._metrics(name):
            yield CompletionItem(before + item.value)

    def _metric_names(self, known: Family) -> list[str]:
        """Return the metrics of the newest and the best version: no more is read."""
        numbers = {known.latest, known.best[0] if known.best else None}
        records = (self._manifest.record(known.folder, number)[0] for number in numbers if number)
        return sorted({name for record in records for name in record.metrics})

    def _meant(self) -> Iterator[Family]:
        """Yield the family that is named on the line, else the first of all."""
        there = self._manifest.families()
        named = (_cut(word)[0].lower() for word in self._ctx.obj or ())
        typed = next((name for name in named if name in there), None)
        for name in there[:MOST_FAMILIES] if typed is None else [typed]:
            yield self._load(name)

    def _load(self, family: str) -> Family:
        from mvc.registry import family as families

        return families.load(self._manifest, family)


def _cut(typed: str) -> tuple[str, str, str]:
    """Cut a ref into family, ``@`` or ``/``, and what follows."""
    marks = [mark for mark in ("@", "/") if mark in typed]
    mark = min(marks, key=typed.index, default="")
    family, _, rest = typed.partition(mark) if mark else (typed, "", "")
    return family, mark, rest
