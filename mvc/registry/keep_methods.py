"""The part of ``ModelRegistry`` that gives up what is not to be kept: policies, and gc.

Public names: ``KeepMethods``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal

from mvc.errors import Busy, MvcError, MvcWarning, NotFound, StoreWarning, UsageError, warn
from mvc.registry import family as families
from mvc.registry.event import MOST_SECONDS, Policy
from mvc.registry.location import newest
from mvc.registry.names import near
from mvc.registry.tag_methods import TagMethods
from mvc.system_errors import in_words

if TYPE_CHECKING:
    import builtins

    from mvc.registry.care.gc import Collected
    from mvc.registry.family import Family
    from mvc.registry.retention import Kept
    from mvc.registry.version import Added


class KeepMethods(TagMethods):
    """What says which versions are kept, and frees the bytes of the others."""

    def keep(
        self,
        name: str | None = None,
        *,
        last: int | None = None,
        best: int | None = None,
        tagged: bool = False,
        younger: timedelta | str | None = None,
        grace: timedelta | str | Literal[0] | None = None,
        after_add: bool = False,
        none: bool = False,
        dry_run: bool = False,
    ) -> builtins.list[Kept]:
        """Return which versions families keep; with a rule, set that for one; see ``gc``.

        A version is kept if any rule names it, if it is the newest, or bears a tag, or was
        restored, or one of another family was made from it. ``gc`` withdraws the others, and
        frees their bytes when the grace time has passed. What is set replaces what was set before.

        Args:
            name: The family; if not given, all that have a policy.
            last: Keep so many by number.
            best: Keep so many by the metric and direction of ``best``.
            tagged: Say that those with a tag are kept, as they always are.
            younger: Keep those made less long ago: a ``timedelta``, or text such as ``"30d"``.
            grace: How long a version can be restored after that; 14 days if not given.
            after_add: Let ``add`` do at once what ``gc`` does.
            none: Keep all from now on.
            dry_run: Only tell what the policy would withdraw.

        Raises:
            NotFound: There is no such family.
            UsageError: A value is none, nothing says what to keep, or nobody can tell what is best.
            Damaged: A record or event cannot be read.
        """
        from mvc.registry import retention

        policy = _policy(last, best, tagged, younger, grace, after_add)
        changes = none or policy != Policy()
        if changes and name is None:
            raise UsageError("which family's versions?", hint="name one family")
        if changes and none == policy.has_rules:
            said = "none beside a rule" if none else "no rule says which versions to keep"
            raise UsageError(said, hint="choose one of none, last, best, tagged and younger")
        if not changes:
            names = self.manifest.families() if name is None else [name]
            found = [self.family(each) for each in names]  # one that cannot be read ends it
            return self._kept([f for f in found if name is not None or f.keep.has_rules])
        assert name is not None
        known = self._to_keep(name)
        retention.check(known, policy)
        if not dry_run:
            self._root_if_writable()
            retention.set_policy(self.manifest, known.folder, policy)
            known = self.family(name)
        return self._kept([replace(known, keep=policy)])

    def gc(
        self,
        grace: timedelta | str | Literal[0] | None = None,
        *,
        dry_run: bool = False,
        orphans: bool = False,
        cache: bool = False,
        force: bool = False,
    ) -> Collected:
        """Give up the bytes of versions withdrawn long ago, and those that nobody needs.

        First what no policy keeps is withdrawn; see ``keep``.

        Args:
            grace: How long a version must have been withdrawn, and what no
                version needs must be there: a ``timedelta``, 0, or text such
                as ``"12h"``, ``"3d"``; if not given, as long as
                ``keep`` says for the family, else 14 days.
            dry_run: Only tell what would be given up.
            orphans: Give up roots in the store whose record is not here, as
                when it is on another git branch, if they are as old.
            cache: Remove the files that ``path`` made as well; only these, with a warning,
                where the store may not be written to.
            force: Go on though half of what was needed after the last gc is not needed now.

        Raises:
            UsageError: ``grace`` is no length of time.
            Damaged: Something cannot be read, so nobody knows what is needed; nothing was removed.
            Busy: Another gc, repack or move is under way.
            MvcError: The clock cannot be trusted, or the store may not be written to, as
                a dry run need not.
        """
        from mvc.registry.care import gc
        from mvc.registry.duration import duration

        given = None if grace is None else duration(grace, "grace")
        options = {"dry_run": dry_run, "orphans": orphans, "cache": cache, "force": force}
        return self._collect(given, gc.WAIT, **options)

    def _collect(self, grace: timedelta | None, wait: float, **options: bool) -> Collected:
        from mvc.registry.care import gc

        dry_run = options.get("dry_run", False)
        if not dry_run and options.get("cache") and self._is_cache_alone():
            return gc.cache_alone(self.place)
        if not dry_run:  # what a copied registry gives up must be its own
            self._writing(always=True, strict=True)
        store = self.presence.writable(dry_run=dry_run).alone()
        done = gc.collect(self.place, self.manifest, store, grace, wait=wait, **options)
        if not dry_run:
            newest.forget_if_gone(self.place, store)
        return done

    def _is_cache_alone(self) -> bool:
        """Whether only the cache may be written to, and neither store nor registry; then warn."""
        from mvc.registry.checkout import paths

        denied = self.presence.refusal()
        if not isinstance(denied, OSError) or not paths.may_fill(paths.cache_of(self.place)):
            return False
        warn(f"only the cache is emptied: {in_words(denied).message}", StoreWarning)
        return True

    def _after_add(self, added: Added) -> Added:
        """Do what gc does, if the family's policy says so; whatever comes of it, it was added."""
        try:
            if not families.noted(self.manifest, added.family).keep.after_add:
                return added
            done = self._collect(None, 0)
        except Busy:  # another gc does it, or the next add
            return added
        except (MvcError, OSError) as error:
            text = f"{added.id} is registered, but what 'mvc keep' says was not done"
            warn(f"{text}: {in_words(error)}", MvcWarning)
            return added
        if not done.withdrawn and not done.freed:
            return added
        ids = ", ".join(item.name for item in done.withdrawn) or "none"
        note = f"withdrawn as mvc keep says: {ids}; {done.freed:,} bytes freed"
        return replace(added, notes=(*added.notes, note))

    def _to_keep(self, name: str) -> Family:
        """Return a family; of one that is still to come say when its policy can be set."""
        try:
            return self.family(name)
        except NotFound as error:
            if self._is_to_come:
                raise
            meant = near(name, self.manifest.families())
            once = (
                "a policy is set once there is a version, and the untrained model is one: "
                f"mvc add {name} PATH, then this again"
            )
            raise NotFound(
                error.message, hint=f"{meant} if not, {once}" if meant else once
            ) from None

    def _kept(self, found: builtins.list[Family]) -> builtins.list[Kept]:
        """Return the policies of families, and what each would withdraw, with bytes if it can."""
        from mvc.registry.retention import Going, Kept, Parent, sorted_out

        moment = datetime.now(timezone.utc)
        told = {f.folder: sorted_out(self.manifest, f, f.keep, moment) for f in found}
        sizes: dict[str, int] = {}
        if any(going for going, _ in told.values()):
            from mvc.registry.care import gc_plan

            try:
                store, policies = self.presence.store.alone(), {f.folder: f.keep for f in found}
                planned = gc_plan.plan(self.place, self.manifest, store, policies=policies)
                sizes = {item.name: item.bytes for item in planned.withdrawn}
            except (MvcError, OSError) as error:
                text = f"nobody can tell how many bytes that would free: {in_words(error)}"
                warn(text, StoreWarning)
        return [
            Kept(
                family.name,
                family.keep,
                tuple(
                    Going(identity, sizes.get(identity))
                    for identity in (f"{family.name}/v{n}" for n in told[family.folder][0])
                ),
                tuple(
                    Parent(f"{family.name}/v{number}", children)
                    for number, children in told[family.folder][1].items()
                ),
            )
            for family in found
        ]


def _policy(
    last: int | None,
    best: int | None,
    tagged: bool,
    younger: timedelta | str | None,
    grace: timedelta | str | Literal[0] | None,
    after_add: bool,
) -> Policy:
    """Return a policy of values as they were given.

    Raises:
        UsageError: One of them is none.
    """
    from mvc.registry.duration import duration

    for name, count in (("last", last), ("best", best)):
        if count is not None and not (type(count) is int and 1 <= count <= MOST_SECONDS):
            raise UsageError(f"{name}={count!r} is no number of versions", hint=f"{name}=5")
    seconds = {
        name: None if given is None else math.ceil(duration(given, name).total_seconds())
        for name, given in (("younger", younger), ("grace", grace))
    }
    if seconds["younger"] == 0:
        raise UsageError("nothing is younger than 0", hint="write 30m, 12h, 3d or 2w")
    return Policy(last, best, tagged, seconds["younger"], seconds["grace"], after_add)
