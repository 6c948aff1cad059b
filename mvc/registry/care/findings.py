"""What a check found, for people and for a repair.

Public names: ``Finding``, ``Mended``, ``Report``, ``Lost``, ``Check``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mvc.digest import Digest
from mvc.registry.care.coverage import Coverage
from mvc.registry.care.dependents import Dependents
from mvc.registry.care.frames import Frames
from mvc.registry.location.place import Place
from mvc.registry.manifest import Manifest
from mvc.registry.reach import Held
from mvc.store import Store


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: its ``kind``, where it is, which ``versions`` it hurts, the remedy."""

    kind: str
    object: str
    place: str
    versions: tuple[str, ...]
    remedy: str


@dataclass(frozen=True, slots=True)
class Mended:
    """Something put right: what ``kind`` of thing, which, and how."""

    kind: str
    object: str
    how: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found; ``checked`` counts by kind what was looked at.

    Of a repair ``mended`` is what was put right before this check. ``coverage``
    says how far one with a time limit came.
    """

    level: str
    checked: dict[str, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    mended: tuple[Mended, ...] = ()
    coverage: Coverage | None = None

    @property
    def ok(self) -> bool:
        return not self.findings


@dataclass(frozen=True, slots=True)
class Lost:
    """A record or event that is missing or damaged, and the roots that may be copies of it.

    ``sure`` says that the one root is it.
    """

    kind: str
    id: str
    family: str
    number: int
    path: Path
    copies: tuple[Path, ...] = ()
    sure: bool = False


@dataclass(slots=True)
class Check:
    """A check under way, or done: what it found, for people and for a repair.

    ``lost`` are records and events, ``rootless`` versions whose root is not
    whole, ``pulled`` those that only others have rooted yet; ``damaged`` are
    objects without any whole frame. Of ``packs`` the structure is damaged, or a
    frame is whole but lies; in ``rotten`` ones single frames are. ``made`` are files that
    were put together, ``unmade`` those that could not be, each with why, ``derived``
    families whose file answers wrongly. With ``lost_records`` every root without a
    version is taken for a lost record.
    """

    level: str
    place: Place
    manifest: Manifest
    store: Store
    lost_records: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    versions: list[Held] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    rootless: list[Held] = field(default_factory=list)
    pulled: list[str] = field(default_factory=list)
    damaged: dict[Digest, str] = field(default_factory=dict)
    packs: set[str] = field(default_factory=set)
    rotten: set[str] = field(default_factory=set)
    made: set[Digest] = field(default_factory=set)
    unmade: dict[Digest, str] = field(default_factory=dict)
    derived: list[str] = field(default_factory=list)
    coverage: Coverage | None = None
    frames: Frames = field(init=False)
    dependents: Dependents = field(init=False)

    def __post_init__(self) -> None:
        self.frames = Frames(self.store)
        self.dependents = Dependents(self.store, self.frames, self.versions)

    def find(self, kind: str, thing: str, where: object, versions: list[str], remedy: str) -> None:
        self.findings.append(Finding(kind, thing, str(where), tuple(versions), remedy))

    def lose(
        self, lost: tuple[str, str, str, int], where: Path, copies: Iterable[Path], *, sure: bool
    ) -> None:
        """Note a record or event: its kind, id, family and number."""
        self.lost.append(Lost(*lost, where, tuple(copies), sure))

    def report(self, mended: Iterable[Mended] = ()) -> Report:
        """Return what was found, as values that stay."""
        counts = dict(sorted(self.counts.items()))
        return Report(
            self.level,
            counts,
            tuple(self.findings),
            tuple(self.notes),
            tuple(mended),
            self.coverage,
        )
