"""repack: which versions are read most, and what the others may be kept over.

The newest and the best version of each family are to be read without a base.
Every other version of the family is offered their tensors of the same names.
What else they are like, and what becomes of that, the store decides:
``mvc.store.repack``.

Public names: ``Repacked``, ``repack``, ``repack_steps``, ``wishes``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mvc import fileio
from mvc.digest import Digest
from mvc.errors import Busy
from mvc.fileio import Steps
from mvc.progress import job
from mvc.registry import family as families
from mvc.registry import reach
from mvc.registry.care.gc import WAIT
from mvc.registry.care.rooted import needs_of, roots
from mvc.registry.manifest import Manifest
from mvc.registry.namesakes import Table, tensors_of
from mvc.registry.record import Artifact
from mvc.store import Store
from mvc.store import repack as packing
from mvc.store.intents import waiting
from mvc.store.lock import maintenance, undisturbed
from mvc.store.mark import Census, Need, reachable
from mvc.store.repack import RepackPlan, Wishes
from mvc.store.retire import Retired, retire
from mvc.store.settings import PACKS, ROOTS
from mvc.store.transaction import Under


@dataclass(frozen=True, slots=True)
class Repacked:
    """What a repack did, or where not ``executed`` would do.

    ``plain`` objects were made readable without a base, ``rebased`` kept over
    another than before; ``packs`` were written anew. ``before`` and ``after``
    are bytes of all packs, ``after`` about so many where it was not executed.
    ``waiting`` counts the commands under way on whose account the old packs
    are kept until the next gc or repack.
    """

    executed: bool
    plain: int
    rebased: int
    packs: int
    before: int
    after: int
    waiting: int = 0


def repack(manifest: Manifest, store: Store, *, dry_run: bool) -> Repacked:
    """Plan, and unless ``dry_run`` carry the plan out. Raises as ``ModelRegistry.repack`` says."""
    if dry_run:
        with undisturbed(store.folder, ROOTS, PACKS):
            return _told(_plan(manifest, store), executed=False)
    with undisturbed(store.folder, ROOTS), maintenance(store.folder) as alone:
        if not alone:
            raise Busy("another gc, repack or move is under way", hint="try again later")
        planned, done = fileio.run(repack_steps(manifest, store, waiting(WAIT)))
        return _told(planned, executed=True, after=store.size(), waiting=done.waiting)


def repack_steps(
    manifest: Manifest, store: Store, patience: Callable[[], bool] = lambda: False
) -> Steps[tuple[RepackPlan, Retired]]:
    """Take up what another left in the trash, then plan, and carry the plan out."""

    def needs() -> list[Need]:
        return needs_of(roots(store))

    left = yield from retire(store, (), needs, patience)
    planned = _plan(manifest, store)
    done = yield from packing.carry_out(store, planned, needs, patience)
    return planned, done if planned.packs else left


def _plan(manifest: Manifest, store: Store) -> RepackPlan:
    with job("comparing what is stored"):
        return packing.plan(store, wishes(manifest, store))


def wishes(manifest: Manifest, store: Store) -> Wishes:
    """Work out from the records what is to be plain, and what is offered to the others.

    Raises:
        Damaged: A version that is read most is not whole.
    """
    plain: set[Digest] = set()
    offers: dict[Digest, dict[Under, None]] = {}
    widths: dict[Digest, int] = {}
    tensors: set[Digest] = set()
    for folder in manifest.families():
        held = [one for one in reach.held_of(manifest, folder)
                if store.find(one.record.artifact.digest)]  # fmt: skip
        best = families.load(manifest, folder).best
        standing = {one.number: one.record.artifact for one in held if not one.withdrawn}
        numbers = {max(standing, default=0), best[0] if best else 0} & standing.keys()
        for number in numbers:
            plain |= set(_parts(store, standing[number]))
        tables = [Table(store, standing[number]) for number in sorted(numbers)]
        for one in held:
            for digest, width, unders in _offered(store, one.record.artifact, tables):
                widths.setdefault(digest, width)
                offers.setdefault(digest, {}).update(dict.fromkeys(unders))
                if not one.withdrawn:
                    tensors.add(digest)
    found = {digest: tuple(those) for digest, those in offers.items()}
    needs = needs_of(roots(store))  # before the packs are looked at: children come first
    census = Census.of(store)
    idle = reachable(census, needs) - reachable(census, needs, bases=False)
    return Wishes(frozenset(plain), found, widths, frozenset(tensors), frozenset(idle))


def _parts(store: Store, artifact: Artifact) -> Iterator[Digest]:
    """Yield what an artifact is made of, without what that is kept over now."""
    yield artifact.digest
    for file in reach.files_of(store, artifact):
        yield from reach.closure_of_file(store, file.digest, lambda digest: None)


def _offered(
    store: Store, artifact: Artifact, tables: list[Table]
) -> Iterator[tuple[Digest, int, list[Under]]]:
    """Yield the objects of a version with their widths, each with its namesakes in ``tables``."""
    for name, chunks in tensors_of(store, artifact):
        found = [table.whole if name is None else table.find(name) for table in tables]
        for number, digest in enumerate(chunks.digests):
            namesakes = (same for same in found if same and number < len(same.digests))
            unders = [Under(same.digests[number], same.width) for same in namesakes]
            yield digest, chunks.width, unders


def _told(
    planned: RepackPlan, *, executed: bool, after: int | None = None, waiting: int = 0
) -> Repacked:
    return Repacked(
        executed=executed,
        plain=planned.plain,
        rebased=planned.rebased,
        packs=len(planned.packs),
        before=planned.before,
        after=planned.after if after is None else after,
        waiting=waiting,
    )
