"""Tags through time: what a tag meant, and what to go back to.

Public names: ``moves_of``, ``last_moves``, ``before``, ``rollback``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Container, Iterable
from datetime import date, datetime, time, timezone

from mvc.errors import MvcError, NotFound, UsageError
from mvc.registry.event import Event, Tagged
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.sealed import parse_time

# So far back the move of a tag is looked for.
MOST_EVENTS = 1000
_COUNT = re.compile(r"[0-9]{1,9}\Z")


def moves_of(manifest: Manifest, family: str, tag: str) -> list[tuple[Event, Tagged]]:
    """Return every move of a tag, oldest first."""
    moves = []
    for number in manifest.event_numbers(family):
        event = manifest.event(family, number)
        if isinstance(event.change, Tagged) and event.change.tag.lower() == tag.lower():
            moves.append((event, event.change))
    return moves


def last_moves(manifest: Manifest, family: Family, tags: Iterable[str]) -> dict[str, Event]:
    """Return the events that put tags, in lower case, where they stand, of the newest events."""
    wanted, found = {tag.lower() for tag in tags}, dict[str, Event]()
    for number in range(family.events, max(0, family.events - MOST_EVENTS), -1):
        if len(found) == len(wanted):
            break
        with contextlib.suppress(MvcError):  # one that cannot be read is told of elsewhere
            event = manifest.event(family.folder, number)
            tag = getattr(event.change, "tag", "").lower()
            if tag in wanted:
                found.setdefault(tag, event)
    return found


def before(moves: list[tuple[Event, Tagged]], when: str, ref: str) -> int | None:
    """Return the version a tag had N moves ago, or at the end of a day or at a moment.

    Raises:
        UsageError: ``when`` is neither a number nor a date.
        NotFound: The tag did not exist then.
    """
    if _COUNT.match(when):
        kept = moves[: max(0, len(moves) - int(when))]
        reason = f"it was set {len(moves)} time{'s' * (len(moves) != 1)}"
    else:
        moment = _moment(when)
        kept = [(event, move) for event, move in moves if parse_time(event.created) <= moment]
        reason = f"its first move was {moves[0][0].created}" if moves else "it was never set"
    if not kept:
        hint = f"{reason}; mvc tag --history {ref} shows when"
        raise NotFound(f"there was no tag '{ref}' yet at '{when}'", hint=hint)
    return kept[-1][1].version


def rollback(
    moves: list[tuple[Event, Tagged]], withdrawn: Container[int], to: int | None, ref: str
) -> tuple[int, int]:
    """Return the version to go back to, and the number of the oldest move that this undoes.

    The newest move not yet undone is undone; further ones as well while they
    lead to a version that is withdrawn, to no version, to where the tag
    stands already, or not to ``to``.

    Raises:
        NotFound: Nothing is left to go back to.
    """
    standing: list[tuple[int, int | None]] = []
    for event, move in moves:
        if move.undoes is None:
            standing.append((event.number, move.version))
        else:
            standing = [item for item in standing if item[0] < move.undoes]
    current = moves[-1][1].version if moves else None
    while standing:
        undone, _ = standing.pop()
        target = standing[-1][1] if standing else None
        if target in (None, current) or target in withdrawn or to not in (None, target):
            continue
        return target, undone
    if to is not None:
        raise _not_back_to(to, current, withdrawn, any(m.version == to for _, m in moves), ref)
    raise NotFound(
        f"'{ref}' has no earlier version to go back to",
        hint=f"mvc tag --history {ref} shows where it was",
    )


def _not_back_to(
    to: int, current: int | None, withdrawn: Container[int], stood: bool, ref: str
) -> NotFound:
    """Say why there is no going back to a version."""
    family, _, tag = ref.partition("@")
    if to == current:
        return NotFound(
            f"'{ref}' stands on v{to} already", hint=f"mvc tag --history {ref} shows since when"
        )
    if to in withdrawn:
        back = f"mvc log {family} --withdrawn says whether mvc restore {family}@v{to} takes it back"
        return NotFound(f"{family}/v{to} is withdrawn", hint=back)
    why = "stood on v{}, but that move was undone" if stood else "did not stand on v{} before"
    moved = f"mvc tag {family}@v{to} {tag} moves it there"
    return NotFound(f"'{ref}' {why.format(to)}", hint=moved)


def _moment(when: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(when), time.max, timezone.utc)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(when.replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(
            f"'{when}' is no time", hint="write a number of moves, or a date as in 2026-11-02"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
