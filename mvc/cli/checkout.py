"""``mvc checkout`` and ``mvc path``.

Public names: ``checkout``, ``path``.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output
from mvc.errors import MvcError, NotFound

if TYPE_CHECKING:
    from mvc.registry import ModelRegistry
    from mvc.registry.version import CheckedOut

# So many names of a list are shown.
FEW = 3


@command.command(
    "checkout",
    usage="REF [OPTIONS]",
    examples=[
        ("mvc checkout resnet18", "the newest version, under the name of its file"),
        ("mvc checkout resnet18@best -o model.pt", "the best one, as model.pt"),
        ("mvc checkout bert", "a version that is a folder: to the folder bert"),
        ("mvc checkout bert@v3:config.json", "one file of it"),
        ("mvc checkout bert --include '*.safetensors'", "some of its files"),
    ],
    statuses={
        3: "the version is damaged; nothing was written",
        4: "no such version or file",
        5: "something else is in the way; --force replaces files, uses folders",
    },
)
@click.argument("ref")
@click.option(
    "-o",
    "--output",
    "target",
    metavar="PATH",
    help="The file to write, or a folder for it; of a folder, the folder itself.  "
    "[default: its own name, here]",
)
@click.option(
    "--force", is_flag=True, help="Replace files, and use folders, that hold something else."
)
@click.option("--link", is_flag=True, help="Link to read-only files in the cache; do not edit.")
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Of a folder, write only files like this."
)
@click.option(
    "--exclude", multiple=True, metavar="GLOB", help="Of a folder, write no files like this."
)
@command.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print only the path.")
def checkout(
    ref: str,
    target: str | None,
    force: bool,
    link: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a version's files here.

    They are your own copy, with exactly the bytes that were registered:
    these are compared before a file gets its name. A file in the way is
    replaced if it is itself of a version that is registered here; anything
    else is kept unless --force is given. In a folder that held another
    version, files of that one are removed, and files of your own stay; a
    folder that holds only other things needs --force, too. With --include
    or --exclude nothing is removed. The last line printed is the path.
    """
    started = time.monotonic()
    registry = command.open_registry()
    try:
        done = registry.checkout(
            ref, target, force=force, link=link, include=include, exclude=exclude
        )
    except NotFound as error:
        raise _explained(registry, ref, error) from None
    if as_json:
        output.json_result(done.as_dict())
        return
    if not quiet:
        output.say(f"{done.id}: {_happened(done, link, time.monotonic() - started)}")
        if done.others:
            count = output.count(len(done.others), "other file stays", "other files stay")
            output.note(f"{count} in '{done.path}': {_few(done.others)}")
    output.result(str(done.path))


@command.command(
    "path",
    usage="REF [OPTIONS]",
    examples=[
        ("mvc path resnet18@prod", "the file of the version that prod stands on"),
        ("mvc path bert@best", "a folder"),
        ("mvc path bert@v3:config.json", "one file of a folder"),
    ],
    statuses={3: "the version is damaged", 4: "no such version or file"},
)
@click.argument("ref")
@command.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print only the path, as without it.")
def path(ref: str, as_json: bool, quiet: bool) -> None:
    """Print a read-only path to a version.

    What is there is shared by all who ask and must not be changed: mvc
    checkout makes a copy for that. It is made when it is first asked for, in
    MVC_CACHE, else in the registry's cache, else in yours; its bytes are
    compared then, and again if it was touched. What was not asked for
    longest goes when the cache is over MVC_CACHE_SIZE.
    """
    from mvc.registry import refs

    registry = command.open_registry()
    if not as_json:
        output.result(str(registry.path(ref)))
        return
    version, file = registry.resolve(ref), refs.parse(ref).path
    exact = f"{version.id}:{file}" if file else version.id
    output.json_result({**version.as_dict(), "path": str(registry.path(exact))})


def _explained(registry: ModelRegistry, ref: str, error: NotFound) -> NotFound:
    """Return an error that says so if what was taken for a file is a tensor."""
    from mvc.registry import refs

    name = refs.parse(ref).path
    if name is not None:
        whole = ref.removesuffix(f":{name}")
        with contextlib.suppress(MvcError), registry.open(whole) as weights:
            if name in weights.keys():  # noqa: SIM118
                typed = f"mvc.ModelRegistry().open({whole!r}).get_tensor({name!r})"
                return NotFound(error.message, hint=f"it is a tensor; in Python: {typed}")
    return error


def _happened(done: CheckedOut, link: bool, seconds: float) -> str:
    if not done.written:
        return "was there already"
    said = f"{output.size(done.size)} {'linked' if link and _is_link(done.path) else 'written'}"
    if done.removed:
        count = output.count(len(done.removed), "file")
        said += f", {count} of another version removed"
    return f"{said}, {seconds:.1f} s"


def _is_link(path: Path) -> bool:
    """Say whether what was checked out shares its bytes with the cache, as not every disk can."""
    files = [path] if path.is_file() else (file for file in path.rglob("*") if file.is_file())
    return any(file.stat().st_nlink > 1 for file in files)


def _few(names: tuple[str, ...]) -> str:
    more = [f"and {len(names) - FEW} more"] if len(names) > FEW else []
    return ", ".join([*names[:FEW], *more])
