"""Changes to what a family's versions are called and how they stand.

Each is one event, created under the next number. Whoever finds that number
taken reads what happened meanwhile and decides anew, so that no change is
ever made on an outdated view.

Public names: ``Move``, ``RolledBack``, ``tag``, ``delete_tag``, ``rollback``,
``history``, ``set_best``, ``withdraw``, ``restore``, ``restore_steps``,
``release``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from mvc import environment, fileio
from mvc.digest import Digest
from mvc.errors import Conflict, MvcError, NotFound, UsageError
from mvc.fileio import Steps
from mvc.registry import family as families
from mvc.registry import reach, refs, resolve, tags
from mvc.registry.directions import direction_of
from mvc.registry.event import MODES, BestRule, Change, Event, Standing, Tagged
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.names import check_metric, check_tag, folder_of, near
from mvc.registry.refs import AnyRef, Ref
from mvc.registry.sealed import now, parse_time
from mvc.store.settings import new_id


@dataclass(frozen=True, slots=True)
class Move:
    """One move of a tag: to ``version`` (``None``: deleted), when, by whom, and why."""

    number: int
    version: str | None
    created: str
    author: str
    message: str | None
    rollback: bool


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A tag went back ``before`` → ``version``, where it had been put ``since`` by ``author``.

    ``present`` tells whether the store holds the bytes of that version.
    """

    id: str
    tag: str
    version: str
    before: str | None
    since: str
    author: str
    present: bool = True


def record_change(
    manifest: Manifest,
    family: str,
    decide: Callable[[], Change | None],
    message: str | None = None,
) -> Steps[Event | None]:
    """Create the next event with the change that ``decide`` returns on a current view.

    Returns:
        The event, or ``None`` if ``decide`` found nothing to change.
    """
    author, identity = environment.author(), new_id()
    while True:
        numbers = manifest.event_numbers(family)
        change = decide()
        if change is None:
            manifest.settle_events(family)
            return None
        last = manifest.event(family, numbers[-1]).created if numbers else ""
        created = max(now(), last)
        number = (numbers[-1] if numbers else 0) + 1
        event = Event(family, identity, created, change, author, message, number)
        made: bool = yield from manifest.create_event(family, event)
        if made:
            with contextlib.suppress(MvcError, OSError):  # it has happened; this is for readers
                families.load(manifest, family)
            return event


def tag_steps(
    manifest: Manifest,
    family: str,
    number: int,
    name: str,
    expect: str | None = None,
    message: str | None = None,
    check: Callable[[], None] | None = None,
) -> Steps[Event | None]:
    """Move a tag to a version, unless it stands there already, or ``check`` raises."""
    record = manifest.record(family, number)[1]

    def decide() -> Change | None:
        standing = families.load(manifest, family).tagged(name)
        if expect is not None and expect != _shown(standing):
            raise Conflict(
                f"tag '{name}' stands on {_shown(standing)}, not on {expect}",
                hint=f"mvc tag --history {family}@{name} shows who moved it",
            )
        if check is not None:
            check()
        return None if standing == number else Tagged(name, number, record)

    return (yield from record_change(manifest, family, decide, message))


def tag(
    manifest: Manifest,
    family: Family,
    number: int,
    name: str,
    expect: AnyRef | None,
    message: str | None,
    check: Callable[[], None] | None,
) -> None:
    """Move a tag. Raises as ``ModelRegistry.tag`` says."""
    standing = "none" if expect == "none" else None
    if expect is not None and standing is None:
        hint = "--expect takes a version by its number, or none: --expect v3"
        standing = _shown(_number_of(family, expect, hint))
    check_tag(name)
    fileio.run(tag_steps(manifest, family.folder, number, name, standing, message, check))


def delete_tag(manifest: Manifest, text: str) -> None:
    """Delete a tag; its history stays."""
    family, name = _tag_of(manifest, text)

    def decide() -> Change | None:
        if families.load(manifest, family.folder).tagged(name) is None:
            raise _no_tag(family, name)
        return Tagged(name, None, None)

    fileio.run(record_change(manifest, family.folder, decide))


def history(manifest: Manifest, text: str) -> list[Move]:
    """Return every move of a tag, newest first."""
    family, name = _tag_of(manifest, text)
    moves = tags.moves_of(manifest, family.folder, name)
    if not moves:
        raise _no_tag(family, name)
    return [
        Move(
            number=event.number,
            version=None if move.version is None else f"v{move.version}",
            created=event.created,
            author=event.author,
            message=event.message,
            rollback=move.undoes is not None,
        )
        for event, move in reversed(moves)
    ]


def rollback(manifest: Manifest, text: str, to: AnyRef | None, message: str | None) -> RolledBack:
    """Undo the newest move of a tag. Raises as ``ModelRegistry.rollback`` says."""
    family, name = _tag_of(manifest, text)
    hint = "--to takes a version by its number, as in --to v3"
    target = _number_of(family, to, hint) if to else None
    if target is not None:
        manifest.record(family.folder, target)  # there is one
    before: int | None = None

    def decide() -> Change | None:
        nonlocal before
        current = families.load(manifest, family.folder)
        moves = tags.moves_of(manifest, family.folder, name)
        if not moves:
            raise _no_tag(current, name)
        before = current.tagged(name)
        number, undone = tags.rollback(moves, current.withdrawn, target, f"{current.name}@{name}")
        return Tagged(name, number, manifest.record(family.folder, number)[1], undone)

    event = fileio.run(record_change(manifest, family.folder, decide, message))
    assert event is not None
    assert isinstance(event.change, Tagged)
    number = event.change.version
    put = next(
        (e, m)
        for e, m in reversed(tags.moves_of(manifest, family.folder, name))
        if m.version == number and m.undoes is None
    )
    return RolledBack(
        id=f"{family.name}/v{number}",
        tag=name,
        version=f"v{number}",
        before=None if before is None else f"v{before}",
        since=put[0].created,
        author=put[0].author,
    )


def set_best(manifest: Manifest, name: str, metric: str, mode: str | None) -> None:
    """Set what ``best`` means in a family.

    Raises:
        UsageError: The direction of the metric is not known and not given, or is none.
        NotFound: No version has the metric, and some have others.
    """
    family = families.load(manifest, name)
    if mode not in (None, *MODES):
        raise UsageError(f"'{mode}' is no direction", hint=f"write {' or '.join(MODES)}")
    resolve.check_known(manifest, family, check_metric(metric))
    mode = mode or direction_of(metric)
    if mode is None:
        raise UsageError(
            f"is a higher or a lower '{metric}' better?",
            hint=f"mvc best {family.name} {metric} --max, or --min",
        )
    chosen = BestRule(metric, mode)

    def decide() -> Change | None:
        rule = families.load(manifest, name).rule
        if rule and (rule.metric, rule.mode, rule.source) == (metric, mode, "event"):
            return None
        return chosen

    fileio.run(record_change(manifest, family.folder, decide))


def withdraw(
    manifest: Manifest, meant: AnyRef, force: bool, message: str | None
) -> tuple[str, int]:
    """Withdraw one version. Raises as ``ModelRegistry.rm`` says."""
    ref = refs.parse(meant)
    if not ref.exact:
        raise _not_exact(manifest, ref)
    family, number = resolve.resolve(manifest, meant)
    digest = manifest.record(family.folder, number)[1]

    def decide() -> Change | None:
        current = families.load(manifest, family.folder)
        bearing = [tag for tag, target in current.tags.items() if target == number]
        if bearing and not force:
            raise Conflict(
                f"{family.name}/v{number} bears the tag '{bearing[0]}'",
                hint=f"move the tag first, or: mvc rm --force {family.name}@v{number}",
            )
        return _stand(current, number, digest, "withdrawn")

    fileio.run(record_change(manifest, family.folder, decide, message))
    return family.folder, number


def restore(manifest: Manifest, meant: AnyRef) -> tuple[str, int]:
    """Take back a withdrawal. Raises as ``ModelRegistry.restore`` says."""
    return fileio.run(restore_steps(manifest, meant))


def restore_steps(manifest: Manifest, meant: AnyRef) -> Steps[tuple[str, int]]:
    """The protocol of ``restore``: one event, which competes with ``release`` for its number."""
    ref = refs.parse(meant)
    if not ref.exact:
        raise UsageError(
            f"'{ref.text}' does not name one version by its number",
            hint=f"mvc log {ref.family} --withdrawn lists them; mvc restore {ref.family}@vN",
        )
    family, number = resolve.resolve(manifest, meant, withdrawn=True)
    digest = manifest.record(family.folder, number)[1]

    def decide() -> Change | None:
        if number in reach.released(manifest, family):
            raise NotFound(
                f"{family.name}/v{number} was released: its bytes were given up by gc",
                hint="add the file again; it becomes a new version",
            )
        return _stand(families.load(manifest, family.folder), number, digest, "restored")

    yield from record_change(manifest, family.folder, decide)
    return family.folder, number


def release(manifest: Manifest, folder: str, number: int, grace: timedelta) -> Steps[bool]:
    """Release a version for gc, if it has been withdrawn for so long and was not restored.

    Why it was withdrawn is why it is released.

    Returns:
        Whether it is released now.
    """

    def decide() -> Change | None:
        event, change = reach.standings(manifest, folder).get(number, (None, None))
        if event is None or change is None or change.kind != "withdrawn":
            return None  # it was restored, or kept from a policy that was to withdraw it
        if datetime.now(timezone.utc) - parse_time(event.created) < grace:
            return None
        return Standing("released", number, change.record)

    withdrawn, _ = reach.standings(manifest, folder).get(number, (None, None))
    message = None if withdrawn is None else withdrawn.message
    yield from record_change(manifest, folder, decide, message)
    last = reach.standings(manifest, folder).get(number)
    return last is not None and last[1].kind == "released"


def _stand(family: Family, number: int, digest: Digest, kind: str) -> Change | None:
    if (number in family.withdrawn) == (kind == "withdrawn"):
        return None
    return Standing(kind, number, digest)


def _tag_of(manifest: Manifest, text: str) -> tuple[Family, str]:
    ref = refs.parse(text)
    if ref.tag is None or ref.when or ref.back or ref.path:
        hint = f"a tag is written {ref.family}@TAG; mvc tag {ref.family} lists those there are"
        try:
            manifest.require(ref.family)
        except NotFound:
            hint = "a tag is written FAMILY@TAG; mvc list shows all families"
            hint = resolve.with_tag(manifest, ref.family) or hint
        raise UsageError(f"'{ref.text}' does not name a tag", hint=hint)
    return families.load(manifest, ref.family), ref.tag


def _no_tag(family: Family, name: str) -> NotFound:
    hint = near(name, family.tags, f"{family.name}@")
    hint = hint or f"mvc tag {family.name} lists those there are"
    return NotFound(f"'{family.name}' has no tag '{name}'", hint=hint)


def _shown(number: int | None) -> str:
    return "none" if number is None else f"v{number}"


def _number_of(family: Family, meant: AnyRef, hint: str) -> int:
    """Return the number of a version given as ``v3`` or, as commands print it, with its family."""
    alone = isinstance(meant, str) and not re.search("[@/]", meant)
    with contextlib.suppress(UsageError):
        ref = refs.parse(f"{family.name}@{meant}" if alone else meant)
        if ref.exact and ref.number is not None and folder_of(ref.family) == family.folder:
            return ref.number
    text = meant if isinstance(meant, str) else getattr(meant, "id", meant)
    raise UsageError(f"'{text}' is no version of '{family.name}'", hint=hint)


def _not_exact(manifest: Manifest, ref: Ref) -> UsageError:
    family, number = resolve.resolve(manifest, ref.text)
    return UsageError(
        f"'{ref.text}' does not name one version by its number",
        hint=f"it is now {family.name}/v{number}: mvc rm {family.name}@v{number}",
    )
