"""Restoring a version and releasing it, in every order of their steps: one of them happens.

The steps are those of ``mvc restore`` and ``mvc gc``, on a disk in memory. A
version that is not released has its root and its bytes in every state, also
when whoever was at work died there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from mvc import environment, fileio
from mvc.digest import digest_of
from mvc.fileio import Steps
from mvc.registry import changes, event, reach, record
from mvc.registry import family as families
from mvc.registry.care import gc
from mvc.registry.care.gc_plan import Plan
from mvc.registry.care.gc_survey import Release
from mvc.registry.care.rooted import roots
from mvc.registry.event import Standing
from mvc.registry.manifest import Manifest
from mvc.registry.record import Artifact, Record
from mvc.store import Store, intents
from tests.support.interleave import Broken, Search, Walked
from tests.support.memory_disk import ROOT, MemoryDisk
from tests.support.store_builders import write_pack

REGISTRY = "aa" * 16
WEIGHTS = b"w" * 40
EARLIER, LATER = "2026-01-01T00:00:00.000000Z", "2026-02-01T00:00:00.000000Z"
RECORD = record.encode(
    Record("net", "1" * 32, EARLIER, Artifact("file", "w.bin", digest_of(WEIGHTS), len(WEIGHTS)))
)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryDisk]:
    """A registry with one version, withdrawn; the state of the family is always worked out."""
    monkeypatch.setattr(environment, "author", lambda: "anna")
    monkeypatch.setattr(changes, "now", lambda: LATER)
    monkeypatch.setattr(families, "_write", lambda *arguments: None)
    monkeypatch.setattr(gc, "note_live", lambda store, live: None)
    monkeypatch.setattr(fileio, "free_space", lambda path: 1 << 40)
    monkeypatch.setattr(intents, "is_dead", lambda intent, now: True)
    with MemoryDisk() as memory:
        names = "packs roots staging trash locks manifest manifest/net"
        names += f" roots/{REGISTRY} manifest/net/versions manifest/net/events"
        memory.folders = {str(ROOT), *(str(ROOT / name) for name in names.split())}
        write_pack(ROOT / "packs", [WEIGHTS])
        put(f"roots/{REGISTRY}/{digest_of(RECORD).hex()}.yaml", RECORD)
        put("manifest/net/versions/v1.yaml", RECORD)
        withdrawn = Standing("withdrawn", 1, digest_of(RECORD))
        put("manifest/net/events/00000001.yaml", event.encode(
            event.Event("net", "2" * 32, EARLIER, withdrawn, "anna")
        ))  # fmt: skip
        yield memory


def put(name: str, data: bytes) -> None:
    fileio.NewFile(ROOT / name).write([data])


def restoring() -> Steps[str]:
    yield from changes.restore_steps(Manifest(ROOT / "manifest"), "net@v1")
    return "restored"


def collecting() -> Steps[str]:
    """Collect with a plan made when the version was withdrawn and long due."""
    store, manifest = Store(ROOT, "cc" * 16), Manifest(ROOT / "manifest")
    packs = tuple(store.index.names)
    due = timedelta(0)
    releases = tuple(Release("net/v1", "net", 1, root, EARLIER, "", due) for root in roots(store))
    planned = Plan((), (), (), (), 0, 0, releases, (), (), packs, (), ())
    yield "planned"
    yield from gc.collect_steps(manifest, store, planned)
    return "collected"


def everything_is_there(disk: MemoryDisk) -> None:
    """What is not released has its root and its bytes; what was restored is not released."""
    events = disk.inside(ROOT / "manifest" / "net" / "events")
    kinds = [event.decode(data, 1).change.kind for _, data in sorted(events.items())]  # type: ignore[union-attr]  # all are about standing
    if "released" in kinds:
        assert "restored" not in kinds[kinds.index("released") :], "restored after its release"
        assert kinds[kinds.index("released") - 1] == "withdrawn", "released though restored"
    else:
        assert disk.inside(ROOT / "roots"), "has lost its root"
    if disk.inside(ROOT / "roots"):
        packs = {**disk.inside(ROOT / "packs"), **disk.inside(ROOT / "trash")}
        assert any(WEIGHTS in data for data in packs.values()), "has lost its bytes"


def search_in(disk: MemoryDisk, *processes: Callable[[], Steps[Any]]) -> Search:
    return Search(disk, processes, lambda: everything_is_there(disk))


def walk(disk: MemoryDisk, *processes: Callable[[], Steps[Any]]) -> Walked:
    walked = search_in(disk, *processes).run()
    print(f"{walked.states} states, {walked.steps} steps, ends {sorted(walked.ends)}")
    return walked


def test_a_version_is_restored_or_released(disk: MemoryDisk) -> None:
    """Of a restore and a gc one comes first, and the other sees that."""
    walked = walk(disk, restoring, collecting)
    assert {("restored", "collected"), ("NotFound", "collected")} <= walked.ends


def test_two_collectors_and_a_restore(disk: MemoryDisk) -> None:
    """Nor does it matter how many collect, in some of the orders."""
    walked = search_in(disk, restoring, collecting, collecting).sample(1000, seed=1)
    assert ("restored", "collected", "collected") in walked.ends
    assert ("NotFound", "collected", "collected") in walked.ends


@pytest.mark.long
def test_two_collectors_and_a_restore_in_every_order(disk: MemoryDisk) -> None:
    """The same in all of them."""
    walk(disk, restoring, collecting, collecting)


def _the_root_goes_first(patch: pytest.MonkeyPatch) -> None:
    real = changes.release

    def late(manifest: Manifest, folder: str, number: int, grace: timedelta) -> Steps[bool]:
        yield from gc._unroot(roots(Store(ROOT, "cc" * 16)))
        return (yield from real(manifest, folder, number, grace))

    patch.setattr(changes, "release", late)


def _the_answer_of_release_is_ignored(patch: pytest.MonkeyPatch) -> None:
    real = changes.release

    def anyway(*arguments: Any) -> Steps[bool]:
        yield from real(*arguments)
        return True

    patch.setattr(changes, "release", anyway)


def _release_does_not_look_again(patch: pytest.MonkeyPatch) -> None:
    def blind(manifest: Manifest, folder: str, number: int, grace: timedelta) -> Steps[bool]:
        change = Standing("released", number, digest_of(RECORD))
        yield from changes.record_change(manifest, folder, lambda: change)
        return True

    patch.setattr(changes, "release", blind)


def _restore_does_not_look_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reach, "released", lambda manifest, family: set())
    patch.setattr(changes, "_stand", lambda family, number, digest, kind: Standing(kind, 1, digest))


def _packs_go_before_the_root(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gc, "_unroot", lambda gone: iter(()))
    patch.setattr("mvc.store.retire._is_needed", lambda store, path, needed, depths: False)


MUTATIONS = (
    _the_root_goes_first,
    _the_answer_of_release_is_ignored,
    _release_does_not_look_again,
    _restore_does_not_look_again,
    _packs_go_before_the_root,
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__.strip("_"))
def test_without_this_something_is_lost(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch, mutation: Callable[[Any], None]
) -> None:
    """Each rule is needed: with it broken, some order loses a version or an answer."""
    mutation(monkeypatch)
    with pytest.raises(Broken, match=r"lost|release"):
        walk(disk, restoring, collecting)
