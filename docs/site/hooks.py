"""What the site has beside the pages: what the code says of itself, and lists of pages.

MkDocs calls ``on_config`` and ``on_files``. A folder in ``nav``, as ``formats/``,
becomes a list of its pages that are not named elsewhere. Made anew at each
build, and so never out of date:

- ``reference/cli.md``: the help of every command, from the commands
- ``reference/python.md``: the public names, which mkdocstrings fills in
- ``changes.md``: the change fragments, the newest first
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import mvc
from mvc.cli.app import SECTIONS, root

DOCS = Path(__file__).parents[1]
WIDTH = 80


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Write out the folders in ``nav``."""
    config.nav = _written_out(config.nav, _named(config.nav))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {"reference/cli.md": commands, "reference/python.md": python, "changes.md": changes}
    for path, make in made.items():
        files.append(File.generated(config, path, content="".join(make())))
    return files


def commands() -> Iterator[str]:
    """Yield the page of all commands."""
    yield "# Commands\n\nWhat each command says with `--help`.\n\n"
    yield _help(root, "mvc")
    context = click.Context(root, info_name="mvc")
    for title, entries in SECTIONS:
        yield f"## {title}\n\n"
        for entry in entries:
            command = root.get_command(context, entry.name)
            assert command is not None
            yield f"### mvc {entry.name}\n\n"
            yield _help(command, f"mvc {entry.name}")
            if isinstance(command, click.Group):
                for name, part in command.commands.items():
                    yield f"#### mvc {entry.name} {name}\n\n"
                    yield _help(part, f"mvc {entry.name} {name}")


def python() -> Iterator[str]:
    """Yield the page of the public names."""
    yield "# Python\n\n" + (mvc.__doc__ or "") + "\n"
    options: dict[str, Any] = {"show_bases": False, "members": _methods()}
    yield from _described("The registry", ["mvc.ModelRegistry"], options)
    returned = ("Added", "Imported", "CheckedOut")
    values = ["mvc.Version", *(f"mvc.registry.version.{name}" for name in returned)]
    yield from _described("Values", values, {"merge_init_into_class": True})
    training = [f"mvc.training.{name}.MvcCallback" for name in ("lightning", "transformers")]
    own = {"merge_init_into_class": True, "members": ["versions", "summary"], "show_bases": False}
    yield from _described("Training", training, {**own, "show_root_full_path": True})
    yield from _described("Progress", ["mvc.progress.listening", "mvc.progress.Job"], {})
    errors = [f"mvc.{name}" for name in mvc.__all__ if _is_error(name)]
    yield from _described("Errors", errors, {"show_bases": True})


def changes() -> Iterator[str]:
    """Yield the page of changes."""
    yield "# Changes\n\n"
    for path in sorted((DOCS / "changes").glob("*.md"), reverse=True):
        text = path.read_text(encoding="utf-8").strip().replace("\n", "\n  ")
        yield f"- {text}\n"


def _help(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, terminal_width=WIDTH)
    return f"```text\n{command.get_help(context)}\n```\n\n"


def _described(title: str, names: list[str], options: dict[str, Any]) -> Iterator[str]:
    yield f"\n## {title}\n\n"
    yield from (f"::: {name}\n    options: {json.dumps(options)}\n\n" for name in names)


def _methods() -> list[str]:
    """Return the public methods, those of the class itself before those of its bases."""
    found = {
        name: None
        for kind in mvc.ModelRegistry.__mro__
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    return list(found)


def _is_error(name: str) -> bool:
    found = getattr(mvc, name)
    return isinstance(found, type) and issubclass(found, Warning | Exception)


def _written_out(nav: Any, named: set[str]) -> Any:
    if isinstance(nav, list):
        parts = [_written_out(item, named) for item in nav]
        return [item for part in parts for item in (part if isinstance(part, list) else [part])]
    if isinstance(nav, dict):
        return {title: _written_out(below, named) for title, below in nav.items()}
    if nav.endswith("/"):
        found = sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / nav).glob("*.md"))
        return [path for path in found if path not in named]
    return nav


def _named(nav: Any) -> set[str]:
    if isinstance(nav, str):
        return {nav}
    below = nav.values() if isinstance(nav, dict) else nav
    return {path for item in below for path in _named(item)}
