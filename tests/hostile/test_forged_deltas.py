"""Deltas whose frames lie about their bases and links: refused or right, and always at an end."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mvc import MvcError, codecs, recipe
from mvc.codecs import Base, Encoding
from mvc.digest import Digest, digest_of
from mvc.recipe import ObjectRef, Part, Recipe
from mvc.registry.care.fsck import LEVELS
from mvc.store import Store
from tests.support.fault_forger import NOWHERE, Forged, put_pack, put_version
from tests.support.faults import Project, bytes_of, confined

pytestmark = pytest.mark.filterwarnings("ignore::mvc.StoreWarning")

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.normal(0, 0.02, 5000)
A, B, C = (
    (VALUES + step * 1e-6 * RANDOM.normal(0, 1, 5000)).astype("<f4").tobytes() for step in range(3)
)
SHORT = B[: len(B) // 2]


def over(
    data: bytes, base: bytes, depth: int, *, named: Digest | None = None, said: Digest | None = None
) -> Forged:
    """Return the frame of ``data`` kept over ``base``, which may be said to be another."""
    made = codecs.encode(data, 4, [Base(digest_of(base), 4, 0, base)])
    assert made.encoding is Encoding.DELTA
    payload = b"".join(map(bytes, made.pieces))
    digest = said or digest_of(data)
    base_digest = named or digest_of(base)
    return Forged(payload, len(data), Encoding.DELTA, digest, depth=depth, base=base_digest)


def plain(data: bytes, depth: int = 0, base: Digest | None = None) -> Forged:
    return Forged(data, len(data), Encoding.RAW, digest_of(data), depth=depth, base=base)


def as_recipe(data: bytes) -> Forged:
    """Return a recipe of one part that is not there."""
    made = Recipe(len(data), (ObjectRef(NOWHERE, len(data)),), (Part(0, 1, 0, len(data)),))
    return Forged(recipe.encode(made), len(data), Encoding.RECIPE, digest_of(data))


# Frames, the first of which is the version; what it is read as, or None where it is refused.
FRAMES: dict[str, tuple[Callable[[], list[Forged]], bytes | None]] = {
    "over itself": (lambda: [over(A, A[:-4] + b"abcd", 1, named=digest_of(A))], None),
    "a circle of two": (lambda: [over(A, B, 1), over(B, A, 1)], None),
    "a circle of two with depths that rise": (lambda: [over(A, B, 2), over(B, A, 1)], None),
    "a circle of two that are as deep as may be": (lambda: [over(A, B, 4), over(B, A, 3)], None),
    "a circle of three": (lambda: [over(A, B, 3), over(B, C, 2), over(C, A, 1)], None),
    "a circle with a way out": (lambda: [over(A, B, 2), over(B, A, 1), plain(B)], A),
    "fewer links than there are": (lambda: [over(A, B, 1), over(B, C, 1), plain(C)], None),
    "more links than there are": (lambda: [over(A, B, 3), plain(B)], A),
    "no links and a base": (lambda: [over(A, B, 0), plain(B)], None),
    "five links": (lambda: [over(A, B, 5), plain(B)], None),
    "255 links": (lambda: [over(A, B, 255), plain(B)], None),
    "a base that is not there": (lambda: [over(A, B, 1)], None),
    "a base that is a recipe": (lambda: [over(A, B, 1), as_recipe(B)], None),
    "a base that is another": (lambda: [over(A, B, 1, named=digest_of(C)), plain(C)], None),
    "a base that is shorter": (lambda: [over(A, SHORT, 1), plain(SHORT)], A),
    "a base that is longer": (lambda: [over(SHORT, A, 1), plain(A)], SHORT),
    "a base that lies": (
        lambda: [over(A, B, 1), Forged(C, len(C), Encoding.RAW, digest_of(B))],
        None,
    ),
    "plain with a base": (lambda: [plain(A, 1, digest_of(B)), plain(B)], A),
}


def check(project: Project, level: str) -> bool:
    return project.open().fsck(level).ok


def tensors(project: Project) -> str:
    project.open().tensors("net@v2")
    return "done"


def add_the_same(project: Project) -> str:
    """Add the bytes that the frames claim to be: they come back, or nothing does."""
    source = project.folder / "mine.bin"
    source.write_bytes(A)
    added = project.open().add("mine", source)
    assert bytes_of(project.open(), added.id) == A
    return "done"


def add_up(project: Project) -> str:
    project.open().du()
    return "done"


def repair(project: Project) -> str:
    project.open().fsck("full", repair=True)
    return "done"


def give_up(project: Project) -> str:
    project.open().rm("net@v2")
    project.open().gc(grace="0d")
    return "done"


WALKS = (tensors, add_the_same, add_up, repair, give_up)


@pytest.mark.parametrize("attack", FRAMES)
def test_a_forged_delta_is_one_clear_error_or_right(
    project: Project, attack: str, tmp_path: Path
) -> None:
    """A lying delta is refused with a line or read rightly; all that walks bases ends."""
    make, data = FRAMES[attack]
    put_version(project, make())
    target = tmp_path / "out.bin"
    said = confined(lambda: project.open().checkout("net@v2", target), seconds=6)
    if data is None:
        assert said.startswith(("Damaged:", "FormatError:", "Unsupported:")), said
        assert "\n" not in said
        assert not target.exists()
    else:
        assert target.read_bytes() == data, said
    for level in LEVELS:
        ended = confined(partial(check, project, level))
        assert ended in ("True", "False"), (level, ended)
    assert confined(partial(check, project, "full")) == str(data is not None)
    for walk in WALKS:
        ended = confined(partial(walk, project))
        assert ended == "done" or ended.startswith(("Damaged:", "FormatError:")), ended
        assert "\n" not in ended
    assert bytes_of(project.open(), "net/v1") == project.held["net/v1"]


def test_what_is_refused_leaves_no_circle_for_the_garbage_collector(tmp_path: Path) -> None:
    """No view of a payload outlives its error in a circle: there old versions of Python crash."""
    Store.create(tmp_path / "store")
    store = Store.open(tmp_path / "store")
    broken = over(A, B, 1)
    put_pack(store.folder / "packs", [replace(broken, payload=broken.payload[:-1]), plain(B)])
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(3):
            with suppress(MvcError):
                store.get_object(digest_of(A))
        gc.collect()
        assert [found for found in gc.garbage if isinstance(found, memoryview)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
