"""``mvc store``: ``info``, ``move``, ``relink``, ``alternates``, ``forget``.

Public names: ``store``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mvc.registry.location.stores import StoreInfo
    from mvc.store.alternates import Alternate
    from mvc.store.relocation import MovePlan

dry_run = click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")


@command.group(
    "store",
    usage="COMMAND ...",
    examples=[
        ("mvc store info", "where it is, and whether it may be written to"),
        ("mvc store move /mnt/big/models", "take it to another disk"),
        ("mvc store relink /mnt/big/models", "it is there now: use it there"),
        ("mvc store alternates --add /srv/models", "read from there what is lacking here"),
    ],
    statuses={4: "no registry or store", 5: "something is in the way", 6: "others are writing"},
)
def store() -> None:
    """Look at the store, or take it elsewhere.

    The store holds the bytes of all versions. It may lie on another disk, and
    several registries may share one: mvc init --store PATH. Records hold no
    paths, so nothing else changes when it moves.
    """


@store.command(
    "info",
    usage="[OPTIONS]",
    examples=[
        ("mvc store info", "for people"),
        ("mvc store info --json | jq .writable", "for a script"),
    ],
    statuses={4: "no registry or store"},
)
@command.as_json
def info(as_json: bool) -> None:
    """Show where the store is and who uses it.

    Also how it was found, whether it may be written to or why not, which
    other stores are asked for what it lacks, and where it is looked for else."""
    found = command.open_registry().store_info()
    if as_json:
        output.json_result(_as_json(found))
        return
    output.facts(_facts(found))


@store.command(
    "move",
    usage="PATH [OPTIONS]",
    examples=[
        ("mvc store move /mnt/big/models --dry-run", "what it would take"),
        ("mvc store move /mnt/big/models", "do it, or go on with it"),
    ],
    statuses={5: "something is in PATH already", 6: "others are still writing; nothing was moved"},
)
@click.argument("path", metavar="PATH")
@dry_run
@command.as_json
def move(path: str, dry_run: bool, as_json: bool) -> None:
    """Move the store to another folder or disk.

    Copies and verifies everything, then notes the new place in the
    registry's settings, then deletes the old. It may be interrupted: the
    same command goes on where it stopped, and once all is
    done it does nothing. Writers wait, readers do not
    notice. Other registries on the store are led to the new place.
    """
    registry = command.open_registry()
    plan = registry.plan_move_store(path)
    if plan.done:
        output.note(f"the store is in '{plan.target}' already; nothing was changed")
    elif not as_json:
        output.say(_words(plan))
    if not dry_run:
        registry.move_store(path)
    if as_json:
        output.json_result(
            {
                "executed": not dry_run,
                "from": str(plan.source),
                "path": str(plan.target),
                "packs": plan.packs,
                "roots": plan.roots,
                "size": plan.size,
            }
        )
    elif not dry_run:
        output.result(str(plan.target))


@store.command(
    "relink",
    usage="[PATH] [OPTIONS]",
    examples=[
        ("mvc store relink", "where it was found is right"),
        ("mvc store relink /mnt/big/models", "it is there now"),
    ],
    statuses={4: "no store there", 5: "another one, an old copy, or one that was moved away"},
)
@click.argument("path", metavar="[PATH]", required=False)
@click.option("--force", is_flag=True, help="Also an old copy, or one whose store.yaml is lost.")
@command.as_json
def relink(path: str | None, force: bool, as_json: bool) -> None:
    """Use the store where it is now.

    That is at PATH, or without one where it was found. It is noted in the
    registry's settings, if they are yours, and in your own
    ~/.config/mvc/stores.yaml, for every registry of yours on this store.
    PATH may also be the old place of a move that was cut off: then the move
    is called off. A store that lost its store.yaml, and has what this
    registry put there, gets it back with --force.
    """
    done = command.open_registry().relink_store(path, force=force)
    if as_json:
        output.json_result(
            {"path": str(done.path), "configured": done.configured, "noted": done.noted}
        )
        return
    if not done.configured:
        output.note("the registry's settings are somebody else's; it is noted for you only")
    output.result(str(done.path))


@store.command(
    "alternates",
    usage="[OPTIONS]",
    examples=[
        ("mvc store alternates", "list them"),
        ("mvc store alternates --add /srv/models", "read from there, too"),
    ],
    statuses={4: "no registry or store"},
)
@click.option("--add", metavar="PATH", help="Read from this store, too.")
@click.option("--remove", metavar="PATH", help="Read from it no more.")
@command.as_json
def alternates(add: str | None, remove: str | None, as_json: bool) -> None:
    """List or change the stores that are read as well.

    They are asked for what this one lacks, and serve reads only: what is
    added is always stored here, even if an alternate has it. Their own
    alternates are asked as well.
    """
    found = command.open_registry().store_alternates(add=add, remove=remove)
    if as_json:
        output.json_result(_others_as_json(found))
    elif found:
        output.table([(output.path(other.path), other.problem or "") for other in found])
    else:
        output.note("no alternates; mvc store alternates --add PATH adds one")


@store.command(
    "forget",
    usage="REGISTRY_ID [OPTIONS]",
    examples=[
        ("mvc store forget 5d1f0c9b --dry-run", "what would be freed"),
        ("mvc store forget 5d1f0c9b", "do it"),
    ],
    statuses={4: "no such registry", 5: "it is this one, or was used lately"},
)
@click.argument("registry", metavar="REGISTRY_ID")
@click.option("--force", is_flag=True, help="Even if it was used in the last two weeks.")
@dry_run
@command.as_json
def forget(registry: str, force: bool, dry_run: bool, as_json: bool) -> None:
    """Let go of what a dead registry keeps.

    Its roots are dropped; what nothing else needs goes with the next mvc gc.
    The first 8 letters of the id are enough; mvc store info lists them.
    """
    opened = command.open_registry()
    plan = opened.plan_forget_registry(registry)
    if not dry_run:
        opened.forget_registry(plan.registry, force=force)
    if as_json:
        answer = {"registry": plan.registry, "roots": plan.roots, "freed": plan.freed}
        output.json_result({"executed": not dry_run, **answer})
        return
    roots = output.count(plan.roots, "root")
    output.say(f"{roots}, last used {output.when(plan.used)}; only they keep "
               f"{output.size(plan.freed)}")  # fmt: skip
    if not dry_run:
        output.result(plan.registry)


def _words(plan: MovePlan) -> str:
    if plan.finishing:
        return f"everything is in '{plan.target}' already; the old place is emptied"
    packs, roots = output.count(plan.packs, "pack"), output.count(plan.roots, "root")
    return f"{packs} and {roots} from '{plan.source}': {output.size(plan.size)} to copy"


def _facts(found: StoreInfo) -> list[tuple[str, str]]:
    from mvc.registry.location.finding import HOW

    packs = output.count(found.packs, "pack")
    rows = [
        ("store", output.path(found.path)),
        ("id", found.id),
        ("found", HOW[found.how]),
        ("size", f"{output.size(found.size)} in {packs}, {output.size(found.free)} free"),
        ("writable", "yes" if found.refusal is None else f"no: {found.refusal}"),
    ]
    for known in found.registries:
        own = " (this one)" if known.own else ""
        roots = output.count(known.roots, "root")
        rows.append(("registry", f"{known.id}  {roots}, used {output.when(known.used)}{own}"))
    for name, others in (("alternate", found.alternates), ("fallback", found.fallbacks)):
        rows += [(name, _other(other)) for other in others]
    return rows


def _other(other: Alternate) -> str:
    return output.path(other.path) + (f"  {other.problem}" if other.problem else "")


def _as_json(found: StoreInfo) -> output.Json:
    return {
        "path": str(found.path),
        "id": found.id,
        "how": found.how,
        "configured": str(found.configured),
        "size": found.size,
        "packs": found.packs,
        "free": found.free,
        "writable": found.refusal is None,
        "refusal": found.refusal,
        "registries": [
            {"id": known.id, "roots": known.roots, "used": known.used, "own": known.own}
            for known in found.registries
        ],
        "alternates": _others_as_json(found.alternates),
        "fallbacks": _others_as_json(found.fallbacks),
    }


def _others_as_json(others: Sequence[Alternate]) -> output.Json:
    return [{"path": str(Path(other.path)), "problem": other.problem} for other in others]
