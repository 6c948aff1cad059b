"""``mvc tag``, ``mvc rollback`` and ``mvc best``.

Public names: ``tag``, ``rollback``, ``best``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from mvc.cli import command, output, tables
from mvc.cli.tables import Column, Value
from mvc.errors import NotFound, UsageError

if TYPE_CHECKING:
    from mvc.registry import ModelRegistry
    from mvc.registry.changes import Move, RolledBack
    from mvc.registry.event import Event
    from mvc.registry.family import Rule

CONFLICT = "the tag does not stand where --expect says"


@command.command(
    "tag",
    usage="REF TAG [OPTIONS]",
    examples=[
        ("mvc tag resnet18@v2 prod", "set prod, or move it to version 2"),
        ("mvc tag resnet18@v2 prod --expect v1", "only if it stands on version 1"),
        ("mvc tag resnet18@v2 prod --require 'acc >= @prod.acc'", "only if it is as good"),
        ("mvc tag --history resnet18@prod", "where prod stood, and who moved it"),
        ("mvc tag --delete resnet18@prod", "delete it; its history stays"),
    ],
    statuses={1: "--require is not true of REF", 4: "no such version or tag", 5: CONFLICT},
)
@click.argument("ref")
@click.argument("name", metavar="TAG", required=False)
@click.option("--expect", metavar="vN|none", help="Refuse if the tag stands elsewhere.")
@click.option("--require", multiple=True, metavar="EXPR", help="Refuse unless this is true of REF.")
@click.option("--message", metavar="TEXT", help="A note on this move.")
@click.option("--history", is_flag=True, help="Show every move of FAMILY@TAG.")
@click.option("--delete", is_flag=True, help="Delete FAMILY@TAG.")
@command.as_json
@command.quiet
def tag(
    ref: str,
    name: str | None,
    expect: str | None,
    require: tuple[str, ...],
    message: str | None,
    history: bool,
    delete: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Give a version a name that can move, such as prod.

    Every move is kept with its time and author, so a tag can be asked where
    it stood before, as resnet18@prod@{1} or resnet18@prod@{2026-11-02}, and
    mvc rollback takes it back. latest, best and v1, v2, … are names that mvc
    gives itself. Without TAG, the tags of a family are listed.

    --require compares REF with numbers or with other versions, such as the one
    that bears the tag now; mvc search explains EXPR. Of several, all must
    be true. A comparison with a version that is not there yet is left out, with a
    warning.
    """
    _check_combination(ref, name, history, delete, setting=bool(expect or require or message))
    registry = command.open_registry()
    if history:
        _show_history(registry.history(ref), ref, as_json, quiet)
    elif delete:
        _delete(registry, ref, as_json, quiet)
    elif name is None:
        _list_tags(registry, _only_family(ref), as_json, quiet)
    else:
        options = {"expect": expect, "require": require or None, "message": message}
        _set(registry, ref, name, options, as_json, quiet)


@command.command(
    "rollback",
    usage="FAMILY@TAG [OPTIONS]",
    examples=[
        ("mvc rollback resnet18@prod", "back to where prod stood before"),
        ("mvc rollback resnet18@prod --to v2", "further back"),
        ('mvc rollback resnet18@prod --message "slow"', "and why"),
    ],
    statuses={4: "no such tag, or nothing to go back to"},
)
@click.argument("ref", metavar="FAMILY@TAG")
@click.option("--to", metavar="vN", help="Go back until the tag stands there.")
@click.option("--message", metavar="TEXT", help="Why.")
@command.as_json
@command.quiet
def rollback(ref: str, to: str | None, message: str | None, as_json: bool, quiet: bool) -> None:
    """Move a tag back to where it was before.

    Undoes the newest move that is not undone yet; a second rollback goes
    further back, never forward again. Withdrawn versions are passed over; where
    the store does not hold all bytes of the version, a warning says so.
    The last line printed is the id of the version the tag stands on now.
    """
    registry = command.open_registry()
    done = registry.rollback(ref, to=to, message=message)
    if as_json:
        version = registry.resolve(done.id).as_dict()
        said = {key: value for key, value in asdict(done).items() if key in ("tag", "before")}
        output.json_result({**version, **said, "since": done.since, "set_by": done.author})
        return
    if not quiet:
        until = _until(registry.history(ref), done)
        known = f" to {output.when(until)}" if until else ""
        output.say(
            f"{done.tag}: {done.before or 'none'} → {done.version} (was {done.version} "
            f"from {output.when(done.since)}{known} UTC, set by {done.author})"
        )
        _note_missing(done)
        _note_still(registry, done)
    output.result(done.id)


@command.command(
    "best",
    usage="FAMILY [METRIC] [OPTIONS]",
    examples=[
        ("mvc best resnet18", "which version is best, and by what"),
        ("mvc best resnet18 loss --min", "from now on the lowest loss"),
        ("mvc show resnet18@best.f1", "the best by another metric, this once"),
    ],
    statuses={4: "no such family, or no version has the metric"},
)
@click.argument("family")
@click.argument("metric", required=False)
@click.option("--max", "highest", is_flag=True, help="The highest value is best.")
@click.option("--min", "lowest", is_flag=True, help="The lowest value is best.")
@command.as_json
@command.quiet
def best(
    family: str, metric: str | None, highest: bool, lowest: bool, as_json: bool, quiet: bool
) -> None:
    """Show or set which metric decides what is best.

    Without METRIC nothing changes: the last line printed is the best
    version's id. With METRIC it decides from now on, also what mvc keep --best
    keeps; to ask by another metric once: mvc show FAMILY@best.METRIC. Whether
    high or low is better is known for common names, such as acc or val_loss.
    Before anybody chooses, the first metric registered decides. Equal values:
    the earlier version.
    """
    name = command.family_name(family, instead="mvc best FAMILY; for one version: mvc show")
    if highest and lowest:
        raise UsageError("--max and --min contradict each other", hint="choose one")
    if metric is None and (highest or lowest):
        raise UsageError("which metric?", hint=f"mvc best {name} METRIC --{_mode(lowest)}")
    registry = command.open_registry()
    if metric is None:
        registry.resolve(f"{name}@best")  # says why, if there is none
    mode = _mode(lowest) if highest or lowest else None
    before = registry.family(name).rule
    rule, version = registry.best(name, metric, mode)
    if as_json:
        shown = None if version is None else version.as_dict()
        output.json_result({"family": name, "rule": rule and asdict(rule), "best": shown})
        return
    if not quiet:
        _tell_rule(registry, name, before, rule)
    if version is not None:
        output.result(version.id)
        return
    try:
        registry.resolve(f"{name}@best")
    except NotFound as error:  # no version has such a value
        output.note(f"{error.message}; {error.hint}")


def _set(
    registry: ModelRegistry,
    ref: str,
    name: str,
    options: dict[str, Any],
    as_json: bool,
    quiet: bool,
) -> None:
    found = registry.resolve(ref)
    before = registry.family(found.family).tagged(name)
    version = registry.tag(ref, name, **options)
    if as_json:
        output.json_result(version.as_dict())
        return
    if not quiet:
        output.say(output.moved(name, before, version.number))
    output.result(version.id)


def _delete(registry: ModelRegistry, ref: str, as_json: bool, quiet: bool) -> None:
    family, _, name = ref.partition("@")
    stood = registry.family(family).tagged(name)
    before = None if stood is None else f"v{stood}"
    registry.delete_tag(ref)
    if as_json:
        output.json_result({"family": family, "tag": name, "before": before, "version": None})
    elif not quiet:
        output.say(f"{name}: {before or 'none'} → none")


def _list_tags(registry: ModelRegistry, family: str, as_json: bool, quiet: bool) -> None:
    known = registry.family(family)
    if as_json:
        output.json_result([{"tag": t, "version": f"v{n}"} for t, n in known.tags.items()])
    elif quiet:
        for name in known.tags:
            output.result(name)
    elif known.tags:
        from mvc.registry import tags

        moves = tags.last_moves(registry.manifest, known, known.tags)
        rows = [(tag, number, moves.get(tag.lower())) for tag, number in known.tags.items()]
        tables.show(rows, TAGS, OF_A_TAG)
    else:
        output.note(f"no tags yet; mvc tag {known.name} TAG sets one on the newest version")


def _show_history(moves: list[Move], ref: str, as_json: bool, quiet: bool) -> None:
    if as_json:
        output.json_result([asdict(move) for move in moves])
    elif quiet:
        family = ref.partition("@")[0]
        for move in moves:
            output.result(f"{family}/{move.version}" if move.version else "none")
    else:
        tables.show(moves, MOVES, OF_A_MOVE)


def _why(move: Move) -> str:
    words = [*(["rollback"] if move.rollback else []), *([move.message] if move.message else [])]
    return ": ".join(words).partition("\n")[0]


def _check_combination(
    ref: str, name: str | None, history: bool, delete: bool, *, setting: bool
) -> None:
    if history and delete:
        raise UsageError("--history and --delete contradict each other", hint="choose one")
    if history or delete:
        option = "--history" if history else "--delete"
        if name is not None or setting:
            joined = f"{ref}@{name}" if name and "@" not in ref else "FAMILY@TAG"
            raise UsageError(f"{option} wants FAMILY@TAG only", hint=f"mvc tag {option} {joined}")
        return
    if name is None:
        if setting:
            raise UsageError("which tag?", hint=f"mvc tag {ref} TAG")
        return
    if "@" in name or "/" in name:
        if "@" not in ref and "/" not in ref:
            ref, name = name, ref
        name = re.split("[@/]", name.partition("@{")[0])[-1]
        raise UsageError("the version comes first, then the tag's name alone",
                         hint=f"mvc tag {ref} {name}")  # fmt: skip


def _only_family(ref: str) -> str:
    if any(mark in ref for mark in "@/~:"):
        raise UsageError(
            f"which tag should '{ref}' bear?",
            hint=f"mvc tag {ref} TAG; where a tag stands says mvc show FAMILY@TAG",
        )
    return command.family_name(ref)


def _until(moves: list[Move], done: RolledBack) -> str | None:
    """Return when the tag was moved away from where it stands again now."""
    later = None
    for move in moves:
        if move.version == done.version and move.created == done.since:
            return later
        later = move.created
    return None


def _note_missing(done: RolledBack) -> None:
    """Say what helps where the tag stands on a version whose bytes are not there now."""
    if not done.present:
        family = done.id.rpartition("/")[0]
        back = f"mvc tag {family}@{done.before} {done.tag} takes it back"
        further = f"mvc rollback {family}@{done.tag} again goes further back"
        hint = f"; {back}, {further}" if done.before else f"; {further}"
        output.note(f"{done.tag} stands on {done.version} all the same{hint}")


def _note_still(registry: ModelRegistry, done: RolledBack) -> None:
    """Say under which names the version that the tag went back from is found all the same."""
    family = registry.family(done.id.rpartition("/")[0])
    best = family.best and family.best[0]
    names = {"latest": family.latest, "best": best}
    still = [name for name, number in names.items() if number and f"v{number}" == done.before]
    if still:
        out = f"to take it out of use: mvc rm {family.name}@{done.before}"
        output.note(f"{done.before} is still {' and '.join(still)}; {out}")


def _mode(lowest: bool) -> str:
    return "min" if lowest else "max"


def _tell_rule(registry: ModelRegistry, name: str, before: Rule | None, rule: Rule | None) -> None:
    """Print what best means, and if that was changed, what hangs on it and how to take it back."""
    told = _rule_in_words(before)
    if before is None or told == _rule_in_words(rule):
        output.say(f"best: the {_rule_in_words(rule)}")
    else:
        output.say(f"best: the {told} → the {_rule_in_words(rule)}")
        output.note(f"mvc best {name} {shlex.quote(before.metric)} --{before.mode} takes it back")
        if count := registry.family(name).keep.best:
            output.note(f"mvc keep goes by it from now on: it keeps the best {count:,} of '{name}'")


def _rule_in_words(rule: Rule | None) -> str:
    if rule is None:
        return ""
    return f"{'lowest' if rule.mode == 'min' else 'highest'} '{rule.metric}'"


# A tag, where it stands, and the event that put it there, unless that is very old.
Stands: TypeAlias = "tuple[str, int, Event | None]"
TAGS: tuple[Column[Stands], ...] = (
    Column("TAG", lambda stands: stands[0], style="cyan"),
    Column("VERSION", lambda stands: f"v{stands[1]}", style="yellow"),
    Column("SINCE (UTC)", lambda stands: output.when(stands[2].created) if stands[2] else ""),
    Column("BY", lambda stands: stands[2].author if stands[2] else "", elastic=10, rank=1),
)
OF_A_TAG: dict[str, Callable[[Stands], Value]] = {
    "tag": lambda stands: stands[0],
    "version": lambda stands: f"v{stands[1]}",
    "moved": lambda stands: stands[2].created if stands[2] else None,
    "author": lambda stands: stands[2].author if stands[2] else None,
}
MOVES: tuple[Column[Move], ...] = (
    Column("MOVED (UTC)", lambda move: output.when(move.created)),
    Column("TO", lambda move: move.version or "deleted", style="yellow"),
    Column("BY", lambda move: move.author, elastic=10, rank=1),
    Column("MESSAGE", _why, elastic=10, rank=2),
)
OF_A_MOVE: dict[str, Callable[[Move], Value]] = {
    "moved": lambda move: move.created,
    "version": lambda move: move.version,
    "author": lambda move: move.author,
    "rollback": lambda move: move.rollback,
    "message": lambda move: move.message,
}
