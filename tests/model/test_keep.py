"""A policy withdraws a version while somebody tags or restores it, in every order of their steps.

The steps are those of ``mvc gc``, ``mvc tag`` and ``mvc restore``, on a disk in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mvc.digest import digest_of
from mvc.fileio import Steps
from mvc.registry import changes, event, record, retention
from mvc.registry.care import gc
from mvc.registry.care.gc_plan import Plan
from mvc.registry.care.gc_survey import Release, Withdrawal
from mvc.registry.care.rooted import roots
from mvc.registry.event import Change, Event, Policy, Standing, Tagged
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.store import Store
from tests.model import test_gc_release
from tests.model.test_gc_release import EARLIER, RECORD, REGISTRY, WEIGHTS, put
from tests.support.interleave import Broken, Search, Walked
from tests.support.memory_disk import ROOT, MemoryDisk

disk = test_gc_release.disk  # the fixture
POLICY = Policy(last=1, grace=0)
SECOND, THIRD = (
    record.encode(replace(record.decode(RECORD), id=digit * 32)) for digit in ("5", "6")
)


@pytest.fixture
def family(disk: MemoryDisk) -> MemoryDisk:
    """Three versions: the first withdrawn long ago, the third the newest, the second unnamed."""
    for number, data in ((2, SECOND), (3, THIRD)):
        put(f"roots/{REGISTRY}/{digest_of(data).hex()}.yaml", data)
        put(f"manifest/net/versions/v{number}.yaml", data)
    put(
        "manifest/net/events/00000002.yaml",
        event.encode(Event("net", "3" * 32, EARLIER, POLICY, "anna")),
    )
    return disk


def collecting() -> Steps[str]:
    """Collect with a plan made when only the policy had been set."""
    store, manifest = Store(ROOT, "cc" * 16), Manifest(ROOT / "manifest")
    (root,) = (root for root in roots(store) if root.record.id == "5" * 32)
    release = Release("net/v2", "net", 2, root, EARLIER, "", timedelta(0))
    planned = replace(
        Plan((), (), (), (), 0, 0, (release,), (), (), (), (), ()),
        withdrawals=(Withdrawal("net", "net", POLICY, (2,)),),
    )
    yield "planned"
    yield from gc.collect_steps(manifest, store, planned)
    return "collected"


def tagging() -> Steps[str]:
    yield from changes.tag_steps(Manifest(ROOT / "manifest"), "net", 2, "prod")
    return "tagged"


def restoring() -> Steps[str]:
    yield from changes.restore_steps(Manifest(ROOT / "manifest"), "net@v2")
    return "restored"


def happened(memory: MemoryDisk) -> list[str]:
    """Return what happened to the second version, in order."""
    found = sorted(memory.inside(ROOT / "manifest" / "net" / "events").items())
    told: list[Change] = [event.decode(data, 1).change for _, data in found]
    return [
        "tagged" if isinstance(change, Tagged) else change.kind
        for change in told
        if isinstance(change, (Tagged, Standing)) and change.version == 2
    ]


def nothing_kept_is_lost(memory: MemoryDisk) -> None:
    """Nothing is withdrawn once it was tagged or restored; nor released unless withdrawn."""
    before = None
    for kind in (kinds := happened(memory)):
        if kind == "withdrawn":
            assert before is None, f"{kinds} has lost what was kept"
        if kind == "released":
            assert before == "withdrawn" or "tagged" in kinds, f"{kinds} has lost a version"
            assert "restored" not in kinds, f"{kinds} has lost a version"
        before = kind
    rooted = any(digest_of(SECOND).hex() in str(name) for name in memory.inside(ROOT / "roots"))
    assert rooted or "released" in kinds, "has lost its root"
    assert any(WEIGHTS in data for data in memory.inside(ROOT / "packs").values()), "lost its bytes"


def walk(memory: MemoryDisk, *processes: Callable[[], Steps[Any]]) -> Walked:
    return Search(memory, processes, lambda: nothing_kept_is_lost(memory)).run()


def test_a_version_is_tagged_or_withdrawn(family: MemoryDisk) -> None:
    """Whoever comes second sees the first: what bears a tag is not withdrawn after that."""
    walked = walk(family, collecting, tagging)
    assert walked.ends == {("collected", "tagged")}


def test_a_version_is_restored_or_released(family: MemoryDisk) -> None:
    """With no grace time, too: of a restore and a release one comes first."""
    walked = walk(family, collecting, restoring)
    assert {("collected", "restored"), ("collected", "NotFound")} <= walked.ends


def test_two_collectors_withdraw_it_once(family: MemoryDisk) -> None:
    """Both with the same plan, and somebody who tags it."""
    walked = Search(
        family, (collecting, collecting, tagging), lambda: nothing_kept_is_lost(family)
    ).sample(150, seed=1)
    assert walked.ends == {("collected", "collected", "tagged")}


def test_without_looking_again_something_is_lost(
    family: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view must be that of the events below the number that is taken."""

    def blind(manifest: Manifest, family: Family, policy: Policy, moment: Any) -> list[int]:
        return [2]

    monkeypatch.setattr(retention, "unnamed", blind)
    with pytest.raises(Broken, match="lost"):
        walk(family, collecting, tagging)
