"""``mvc init``.

Public names: ``init``.
"""

from __future__ import annotations

from pathlib import Path

import click

from mvc import environment
from mvc.cli import command, output
from mvc.errors import NotFound


@command.command(
    "init",
    examples=[
        ("cd thesis && mvc init", "a registry in thesis/.mvc"),
        ("mvc -C thesis init", "the same from outside"),
    ],
    statuses={0: "done, or there was a registry already"},
)
@command.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print only the registry's folder.")
def init(as_json: bool, quiet: bool) -> None:
    """Make a registry in this folder.

    Everything mvc keeps goes into one new folder, .mvc: the versions'
    records, as small text files, and the store with their bytes. To remove
    the registry, delete that folder. Where there is a registry already,
    nothing happens.
    """
    from mvc.registry import ModelRegistry

    chosen = environment.registry_folder() or Path.cwd()
    above = _registry_above(chosen)
    registry = ModelRegistry(chosen)
    made = registry.init()
    if not quiet:
        _tell(registry.folder, made, above)
        if made and environment.in_git(registry.folder.parent):
            output.note("git keeps the records, not the store: 'git clean -x' would delete it")
    if as_json:
        output.json_result({"registry": str(registry.folder), "new": made})
    else:
        output.result(str(registry.folder))


def _tell(folder: Path, made: bool, above: Path | None) -> None:
    if not made:
        output.note("there is a registry already; nothing was changed")
        return
    if above is not None:
        output.note(f"from here on it is used instead of '{output.path(above)}'")
    output.note("next: mvc add FAMILY PATH, as in mvc add resnet18 model.pt -m acc=0.95")


def _registry_above(folder: Path) -> Path | None:
    import warnings

    from mvc.registry import place

    with warnings.catch_warnings():  # whether one above may be trusted does not matter here
        warnings.simplefilter("ignore")
        try:
            return place.find(folder.parent)
        except NotFound:
            return None
