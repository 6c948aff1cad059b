"""Choosing: which encoding some bytes are kept in, found by measuring.

Nothing is believed about the data but its element width, and that only as a
hint. Small objects are encoded in every way and the smallest is kept; of
larger ones a few windows are tried, then the most promising encoding is used
and dropped again if it does not hold what the windows promised.

Public names: ``encode``, ``promise``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from mvc.codecs import raw, zstd
from mvc.codecs.encoding import Base, Encoded
from mvc.codecs.zstd import Effort
from mvc.digest import Buffer

if TYPE_CHECKING:
    from mvc.codecs import delta

KEEP = 0.97
"""An encoding is used if it leaves no more than this part of the plain bytes."""

LINK = 0.9
"""Each link to a base must leave no more than this part: reading it is paid for each time."""

SMALL = 32 << 10
"""Up to this size, in bytes, everything is tried in full."""

WINDOWS = 4
WINDOW = 32 << 10
"""Bytes per window, wide enough for the matches that are worth finding."""

SKIMMED = 256 << 10
"""Bytes searched for long repeats; it takes as long as one small window."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A way to keep the bytes, and the payload's size it promises.

    ``encode`` gives ``None`` where it turns out not to go that way. A payload
    counts for ``weight`` times its size: a delta has to be smaller than what
    needs no base, and smaller still for each further link.
    """

    size: float
    encode: Callable[[], Encoded | None]
    weight: float = 1.0


def encode(data: Buffer, width: int, bases: Sequence[Base] = ()) -> Encoded:
    """Keep ``data`` in the best of ``raw``, ``zstd``, ``planes`` and ``delta``.

    Args:
        data: The plain bytes, contiguous.
        width: Bytes per element; 0 where it is unknown.
        bases: What a delta may be kept over.
    """
    plain = memoryview(data).cast("B")
    limit = int(plain.nbytes * KEEP)
    candidates = _candidates(plain, width) + _over_bases(plain, width, bases)
    if plain.nbytes <= SMALL:
        attempts = [(made, each.weight) for each in candidates if (made := each.encode())]
        best = min(attempts, key=lambda attempt: attempt[0].size * attempt[1], default=None)
        return best[0] if best and best[0].size * best[1] <= limit else raw.encode(plain)
    for candidate in sorted(candidates, key=lambda candidate: candidate.size * candidate.weight):
        if candidate.size * candidate.weight > limit:
            break
        attempt = candidate.encode()
        if attempt and attempt.size * candidate.weight <= limit:
            return attempt
    return raw.encode(plain)


def promise(data: Buffer, width: int, base: Base | None) -> float:
    """Return what a delta over ``base`` promises, weighted, or the least without one, in bytes."""
    plain = memoryview(data).cast("B")
    if base is None:
        return min([plain.nbytes, *(each.size for each in _candidates(plain, width))])
    deltas = _over_bases(plain, width, [base])
    return min((each.size * each.weight for each in deltas), default=math.inf)


def _over_bases(plain: memoryview, width: int, bases: Sequence[Base]) -> list[_Candidate]:
    """Return the deltas that are possible, each with the weight of its links."""
    found = []
    if plain.nbytes and bases:
        from mvc.codecs import delta

        for base in bases:
            planned = delta.make(plain, width, base.data, base.width)
            if planned is not None:
                encode = partial(_over, plain, width, base, planned)
                found.append(_Candidate(planned.size, encode, LINK ** -(base.depth + 1)))
    return found


def _over(plain: memoryview, width: int, base: Base, planned: delta.Plan) -> Encoded:
    from mvc.codecs import delta

    return replace(delta.encode(plain, width, base.data, planned), base=base)


def _candidates(plain: memoryview, width: int) -> list[_Candidate]:
    if not plain.nbytes:
        return []
    skimmed = _skim(plain)
    # A complex number is two floats. Its 8 bytes split like one double's: the
    # rotation only swaps signs between mantissas.
    width = min(width, 8)
    if width not in (2, 4, 8):
        return [_as_zstd(plain, skimmed)]
    from mvc.codecs import palette, plan, planes  # numpy, which text and tables do not need

    planned = plan.make(plain, width)
    as_planes = _Candidate(planned.size, partial(planes.encode, plain, planned))
    few = palette.make(plain, width)
    if few is not None and few.size < planned.size:
        as_numbers = _Candidate(few.size, partial(palette.encode, plain, few))
        return [as_numbers, as_planes, _as_zstd(plain, skimmed)]
    dense = planned.plain_mantissa and planned.size <= KEEP * plain.nbytes
    if dense and skimmed > KEEP and plain.nbytes > SMALL:
        # Dense weights, and nothing repeats: a search for matches is lost time.
        return [as_planes]
    return [as_planes, _as_zstd(plain, skimmed)]


def _skim(plain: memoryview) -> float:
    """Return a ratio near 1 unless long strings repeat in ``plain``.

    The middle is searched first; only if it repeats is the whole, which tells
    how far the repeats go and still takes less time than one good attempt.
    """
    middle = max(0, (plain.nbytes - SKIMMED) // 2)
    ratio = zstd.ratio(plain[middle : middle + SKIMMED], Effort.SKIM)
    return zstd.ratio(plain, Effort.SKIM) if ratio <= KEEP else ratio


def _as_zstd(plain: memoryview, skimmed: float) -> _Candidate:
    sample = _sample(plain)
    ratios = [(zstd.ratio(sample, effort), effort) for effort in (Effort.MATCHES, Effort.BYTES)]
    # Skimming sees further than a window does, and repeats it sees are matches.
    ratio, effort = min([*ratios, (skimmed, Effort.MATCHES)], key=lambda pair: pair[0])
    return _Candidate(ratio * plain.nbytes, partial(zstd.encode, plain, effort))


def _sample(plain: memoryview) -> Buffer:
    """Return up to ``WINDOWS * WINDOW`` bytes, from evenly spread windows."""
    if plain.nbytes <= WINDOWS * WINDOW:
        return plain
    spare = plain.nbytes - WINDOW
    starts = [spare * (2 * window + 1) // (2 * WINDOWS) for window in range(WINDOWS)]
    return b"".join(plain[start : start + WINDOW] for start in starts)
