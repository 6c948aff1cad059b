"""Descent: which versions of other families were made from versions of one.

Lineage names parents only; this is the other way round, for whatever gives
versions up. Who is withdrawn needs no parent any more, and does not count.

Public names: ``children``.
"""

from __future__ import annotations

from collections.abc import Iterable

from mvc.registry import family as families
from mvc.registry.manifest import Manifest
from mvc.registry.search import columns

# Parents are known by their records: where branches of git met their numbers may be others.
PARENTS = "lineage.parents.record"


def children(manifest: Manifest, folder: str, numbers: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Return the ids of the versions of other families made from these; only where there are any.

    Raises:
        Damaged: A record of ``numbers``, or an event of any family, cannot be read.
    """
    others = [families.load(manifest, name) for name in manifest.families() if name != folder]
    made: dict[str, list[str]] = {}
    with columns.opened(manifest, others) as facts:
        for family in others:
            for number, parents in facts.column(family, PARENTS).items():
                if number not in family.withdrawn:
                    for parent in parents:
                        made.setdefault(str(parent), []).append(f"{family.name}/v{number}")
    if not made:
        return {}
    records = {number: str(manifest.record(folder, number)[1]) for number in numbers}
    return {n: tuple(made[record]) for n, record in records.items() if record in made}
