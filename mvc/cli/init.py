"""``mvc init``.

Public names: ``init``.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvc import environment
from mvc.cli import command, output
from mvc.errors import NotFound

if TYPE_CHECKING:
    from mvc.registry import ModelRegistry


@command.command(
    "init",
    examples=[
        ("cd thesis && mvc init", "a registry in thesis/.mvc"),
        ("mvc -C thesis init", "the same from outside"),
        ("mvc init --store /mnt/big/models", "the bytes on another disk, alone or shared"),
    ],
    statuses={
        0: "done, or there was a registry already",
        5: "something is in PATH, or the registry has its store elsewhere",
    },
)
@click.option("--store", metavar="PATH", help="Keep the bytes there, not inside .mvc.")
@command.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print only the registry's folder.")
def init(store: str | None, as_json: bool, quiet: bool) -> None:
    """Make a registry in this folder.

    Everything mvc keeps goes into one new folder, .mvc: the versions'
    records, as small text files, and the store with their bytes. To remove
    the registry, delete that folder. Where there is a registry already,
    nothing happens. In a clone that git made the records stay as they are,
    and the registry gets its store. So does a registry whose own store is
    still empty, with --store.

    With --store the bytes go to another folder: a new store is made there,
    or the one that is there is shared with the registries that use it.
    """
    from mvc.registry import ModelRegistry
    from mvc.registry.location import place

    chosen = environment.registry_folder() or Path.cwd()
    above = _registry_above(chosen)
    registry = ModelRegistry(chosen)
    made = registry.init(store=store)
    opened = place.open_to_all(registry.folder)
    if opened is not None:
        output.line(
            "warning",
            f"anyone may write to '{opened}', so mvc passes this registry over unless -C or "
            f"MVC_DIR names it; to change that: chmod o-w {shlex.quote(str(opened))}",
        )
    if not quiet:
        _tell(registry, made, above, store is not None)
        if made and store is None and environment.in_git(registry.folder.parent):
            output.note("git keeps the records, not the store: 'git clean -x' would delete it")
    if as_json:
        output.json_result({"registry": str(registry.folder), "new": made})
    else:
        output.result(str(registry.folder))


def _tell(registry: ModelRegistry, made: bool, above: Path | None, external: bool) -> None:
    from mvc.registry.care import remarks

    if not made:
        output.note("there is a registry already; nothing was changed")
        if registry.presence.if_there() is None:
            settings = shlex.quote(output.path(registry.folder / "config.yaml"))
            output.note(
                "if its store is lost for good, an empty one is made for the records by: "
                f"mv {settings} lost.yaml && mvc init"
            )
        return
    if above is not None:
        output.note(f"from here on it is used instead of '{output.path(above)}'")
    versions = registry.log()
    missing = sum(not version.present for version in versions)
    if external and not versions:
        for note in remarks.of_others(registry.presence.store, registry.place.id):
            output.note(note)
    if external and not registry.store_info().packs:
        output.note(f"the store in '{output.path(registry.place.store_path)}' is empty")
    if missing:
        count = output.count(missing, "version")
        output.note(
            f"the bytes of {count} are not here: mvc store alternates --add PATH reads them from "
            "another store, mvc fsck --repair --from PATH brings them here from one, or from files"
        )
    else:
        output.note("next: mvc add FAMILY PATH, as in mvc add resnet18 model.pt -m acc=0.95")


def _registry_above(folder: Path) -> Path | None:
    import warnings

    from mvc.registry.location import place

    with warnings.catch_warnings():  # whether one above may be trusted does not matter here
        warnings.simplefilter("ignore")
        try:
            return place.find(folder.parent)
        except NotFound:
            return None
