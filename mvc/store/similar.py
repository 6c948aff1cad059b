"""Similar: bases found by what objects are like, whatever they are called and wherever they belong.

Of every object that may have a base and has none, or one that says little of
it, a sketch is taken, and of all that stay without one. Those whose sketches
are near are measured. What another is kept over stays plain from then on.

Public names: ``over_similar``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from mvc.codecs import choose
from mvc.digest import Digest
from mvc.store.anew import Change, Measure
from mvc.store.pack import Entry
from mvc.store.store import MAX_BASE
from mvc.store.transaction import Under

MOST_MEASURED = 3
"""Over how many of those that are alike an object is measured."""

POOR = 0.5
"""What takes no more than this part of its plain bytes is left as it is."""


def over_similar(
    measure: Measure,
    entries: Mapping[Digest, Entry],
    changes: Iterable[Change],
    wished: Set[Digest],
    standing: Set[Digest],
) -> list[Change]:
    """Return ``changes`` with those that keep objects over what they are like.

    Args:
        measure: Says what that takes.
        entries: The frames there are.
        changes: What is to be encoded again so far.
        wished: What is to be plain.
        standing: Those that may be bases, or may have one.
    """
    made = {change.digest: change for change in changes}
    bases = {digest: _base(entry, made.get(digest)) for digest, entry in entries.items()}
    fixed = set(wished) | {base for base in bases.values() if base is not None}
    able = sorted(d for d in standing & entries.keys() if entries[d].size <= MAX_BASE)
    about = {d: made[d].about if d in made else entries[d].stored for d in able}
    seeking = [d for d in able if d not in fixed and about[d] > POOR * entries[d].size]
    lengths = {measure.length_class(digest) for digest in seeking}
    plain = [d for d in able if bases[d] is None and measure.length_class(d) in lengths]
    alike = measure.alike(seeking, sorted(plain, key=lambda digest: digest not in fixed))
    for digest, others in alike:
        if digest in fixed:  # meanwhile another is kept over it
            continue
        found = [d for d in others if bases[d] is None and d not in (digest, bases[digest])]
        found.sort(key=lambda other: other not in fixed)
        offers = [Under(other, measure.width(other)) for other in found[:MOST_MEASURED]]
        costs = measure.over(digest, offers)
        # One that others are kept over costs nothing more; another could not be moved any more.
        settled = [under for under in costs if under and under.digest in fixed]
        costs = {under: costs[under] for under in settled or costs}
        change = measure.change(digest, costs) if costs else None
        if change and change.base and change.about <= choose.LINK * about[digest]:
            made[digest], bases[digest] = change, change.base.digest
            fixed.add(change.base.digest)
    return list(made.values())


def _base(entry: Entry, change: Change | None) -> Digest | None:
    if change is None:
        return entry.base
    return change.base.digest if change.base else None
