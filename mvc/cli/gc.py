"""``mvc gc``.

Public names: ``gc``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output, versions

if TYPE_CHECKING:
    from mvc.registry.care.gc import Collected
    from mvc.registry.care.gc_plan import Item


@command.command(
    "gc",
    usage="[OPTIONS]",
    examples=[
        ("mvc gc --dry-run", "what would become free"),
        ("mvc gc", "free what was withdrawn 14 days ago or before"),
        ("mvc gc --grace 0", "free everything withdrawn, now"),
    ],
    statuses={
        3: "something cannot be read, so nobody knows what is needed; nothing was removed",
        4: "no registry or store",
        6: "another gc is under way",
    },
)
@click.option(
    "--grace",
    metavar="TIME",
    help="How long ago it must have been withdrawn: 0, 12h, 3d, 2w.  "
    "[default: as mvc keep says, else 14d]",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be freed.")
@click.option("--orphans", is_flag=True, help="Also what only records that are not here need.")
@click.option("--cache", is_flag=True, help="Also the files that mvc path made.")
@click.option("--force", is_flag=True, help="Also if half of what was needed is not any more.")
@command.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print only the number of bytes freed.")
def gc(
    grace: str | None,
    dry_run: bool,
    orphans: bool,
    cache: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Free the bytes of versions withdrawn long ago.

    A version that mvc rm withdrew can be restored for 14 days, counted from
    then; after that gc gives up its bytes, those that no other version needs.
    Its record stays, its number is never given again. What a killed add has
    left goes when it is as old. Nothing is removed if anything cannot be
    read; commands under way are waited for.

    First gc withdraws the versions that no rule of mvc keep names; they can be
    restored as long as any other.

    A version whose record is merely not here, as on another git branch, keeps
    its bytes; --orphans gives them up. Where the store may only be read,
    --cache still empties a cache of one's own.
    """
    registry = command.open_registry()
    done = registry.gc(grace, dry_run=dry_run, orphans=orphans, cache=cache, force=force)
    if as_json:
        output.json_result(asdict(done))
        return
    if not quiet:
        _tell(done)
        if dry_run:
            going = [item.name for item in done.items if item.kind == "version"]
            versions.note_children(registry, going)
    output.result(str(done.freed) if quiet else _sum(done))


def _tell(done: Collected) -> None:
    freed = {item.name for item in done.items}
    withdrawn = [item for item in done.withdrawn if item.name not in freed]
    rows = [("withdrawn" if done.executed else "withdraw", *_row(item)[1:]) for item in withdrawn]
    rows += [_row(item) for item in done.items]
    if rows:
        output.table(rows, right=[2])
    for note in _later([item for item in done.later if item not in withdrawn]):
        output.note(note)
    if done.orphans:
        output.note(_orphans(len(done.orphans)))
    for item in done.others:
        output.note(f"registry {item.name[:8]} uses this store: {item.why}")
    if done.beneath:
        kept = output.size(done.beneath)
        more = "; mvc repack --dry-run says what keeping those in another way takes"
        output.note(
            f"{kept} of no version stay{' for now' if done.no_room else ''}: versions are kept "
            f"over them{'' if done.no_room else more}"
        )
    if done.put_off:
        output.note(_put_off(done.put_off))
    if done.no_room:
        output.note(f"{_no_room(done)}: run mvc gc again")
    if done.waiting:
        under_way = output.count(done.waiting, "command")
        output.note(f"{under_way} under way may need what is left: run mvc gc again later")


def _later(items: Sequence[Item]) -> Iterator[str]:
    """Yield a line for each family, however many of its versions cannot go yet."""
    families: dict[str, list[Item]] = {}
    for item in items:
        families.setdefault(item.name.rpartition("/")[0], []).append(item)
    for family, of_it in families.items():
        first, size = of_it[0], output.size(sum(item.bytes for item in of_it))
        if len(of_it) == 1:
            yield f"{first.name} stays: {first.why} ({size})"
        else:
            whose = f"{len(of_it):,} versions of {family} stay ({size})"
            yield f"{whose}: the first is {first.name}, {first.why}"


def _put_off(ids: tuple[str, ...]) -> str:
    stay = f"{ids[0]} stays" if len(ids) == 1 else f"{len(ids):,} versions stay"
    it_goes = "it goes" if len(ids) == 1 else "they go"
    return f"{stay}: no room to note that {it_goes}; run mvc gc again once there is"


def _orphans(count: int) -> str:
    if count == 1:
        return "1 root of a record that is not here stays; --orphans gives it up"
    return f"{count:,} roots of records that are not here stay; --orphans gives them up"


def _no_room(done: Collected) -> str:
    """Say what can go once there is room, and how much: an event alone needs next to nothing."""
    room = f"{output.size(done.room)} are free" if done.room else "there is room"
    return f"{output.size(done.no_room)} can go once {room}"


def _row(item: Item) -> tuple[str, str, str, str]:
    name = item.name[:12] if item.kind in ("orphan", "staging") else item.name
    return item.kind, name, output.size(item.bytes), item.why


def _sum(done: Collected) -> str:
    would = "" if done.executed else "would be "
    said = [f"{output.size(done.freed)} {would}freed"]
    if done.withdrawn:
        said.insert(0, f"{output.count(len(done.withdrawn), 'version')} {would}withdrawn")
    if done.remaining:
        said.append(f"{output.size(done.remaining)} can be later")
    return ", ".join(said)
