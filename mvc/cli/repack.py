"""``mvc repack``.

Public names: ``repack``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output

if TYPE_CHECKING:
    from mvc.registry.care.repack import Repacked


@command.command(
    "repack",
    usage="[OPTIONS]",
    examples=[
        ("mvc repack --dry-run", "what would be kept in another way"),
        ("mvc repack", "make the newest and the best version quick to read"),
    ],
    statuses={
        3: "something cannot be read; nothing was removed",
        4: "no registry or store",
        6: "a gc, another repack or a move is under way",
    },
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
@command.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print only the bytes that all packs take.")
def repack(dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Make what is read most quick to read.

    A version near another is kept as what the other does not say of it, over
    up to four links. Afterwards the newest and the best version of each
    family have none, every other at most one, and small packs are merged.
    What those are kept over is looked for in all families.
    The store becomes at most a tenth larger, except where the newest and the
    best need more. Every byte is decoded and compared before anything goes.

    It takes as long as adding the versions did, and may be interrupted; other
    commands need not wait for it.
    """
    done = command.open_registry().repack(dry_run=dry_run)
    if as_json:
        output.json_result(asdict(done))
        return
    if not quiet:
        _tell(done)
    output.result(str(done.after) if quiet else _sum(done))


def _tell(done: Repacked) -> None:
    rows = [
        (output.count(done.plain, "object"), "without a base"),
        (output.count(done.rebased, "object"), "over another base"),
        (output.count(done.packs, "pack"), "written anew"),
    ]
    rows = [row for row in rows if not row[0].startswith("0 ")]
    if rows:
        output.table(rows)
    if done.waiting:
        under_way = output.count(done.waiting, "command")
        output.note(f"{under_way} under way may need the old packs: mvc gc frees them later")


def _sum(done: Repacked) -> str:
    before, after = output.size(done.before), output.size(done.after)
    if not done.packs:
        return f"nothing to do: {before}"
    return f"{before} became {after}" if done.executed else f"{before} would become about {after}"
