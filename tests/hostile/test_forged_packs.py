"""Packs whose names and checksums are right and whose contents lie: refused, in little memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mvc import Damaged, recipe
from mvc.codecs import Encoding, zstd
from mvc.codecs.zstd import Effort
from mvc.digest import digest_of
from mvc.recipe import ObjectRef, Part, Recipe
from mvc.registry.care.fsck import LEVELS
from mvc.store.pack import MAX_PAYLOAD
from tests.support.fault_forger import NOWHERE, Forged, put_version
from tests.support.faults import Project, bytes_of, confined

pytestmark = pytest.mark.filterwarnings("ignore::mvc.StoreWarning")

HUGE = 1 << 40
ZEROS = zstd.compress(bytes(200 << 20), Effort.MATCHES)  # some kilobytes
# width 4, each plane one byte repeated
CONSTANT = struct.pack("<B3s", 4, bytes(3)) + struct.pack("<BI", 2, 1) * 4 + bytes(4)


def parts(count: int, objects: int) -> bytes:
    """Write a recipe that says a few objects over and over, in ``count`` parts."""
    header = struct.pack("<4sHHQIIQ", b"MVCR", 0, 0, count * objects, objects, count, 2)
    refs = struct.pack("<32sQ", digest_of(b"x"), 1) * objects
    return header + refs + struct.pack("<IIQQ", 0, objects, 0, objects) * count + b"[]"


def itself() -> bytes:
    return recipe.encode(Recipe(1, (ObjectRef(NOWHERE, 1),), (Part(0, 1, 0, 1),)))


def of_a_recipe() -> list[Forged]:
    inner = itself()
    outer = recipe.encode(Recipe(1, (ObjectRef(digest_of(b"inner"), 1),), (Part(0, 1, 0, 1),)))
    return [
        Forged(outer, 1, Encoding.RECIPE),
        Forged(inner, 1, Encoding.RECIPE, digest_of(b"inner")),
    ]


FRAMES: dict[str, Callable[[], list[Forged]]] = {
    "raw of another digest": lambda: [Forged(b"not nowhere", 11)],
    "raw shorter than said": lambda: [Forged(b"short", 4096)],
    "zstd bomb of the size said": lambda: [Forged(ZEROS, 200 << 20, Encoding.ZSTD)],
    "zstd bomb said to be small": lambda: [Forged(ZEROS, 4096, Encoding.ZSTD)],
    "zstd bomb said to be huge": lambda: [Forged(ZEROS, HUGE, Encoding.ZSTD)],
    "zstd that is none": lambda: [Forged(b"x" * 100, 4096, Encoding.ZSTD)],
    "planes said to be huge": lambda: [Forged(CONSTANT, HUGE, Encoding.PLANES)],
    "planes that are none": lambda: [Forged(b"x" * 100, 4096, Encoding.PLANES)],
    "an unknown encoding": lambda: [Forged(b"x", 1, 250)],
    "an offset beyond 63 bits": lambda: [Forged(b"x", 1, offset=(1 << 64) - 200)],
    "an offset beyond the file": lambda: [Forged(b"x", 1, offset=1 << 40)],
    "a payload beyond 63 bits": lambda: [Forged(b"x", 1, stored=(1 << 64) - 1)],
    "a payload over the limit": lambda: [Forged(b"x", 1, stored=MAX_PAYLOAD + 1)],
    "a recipe that is none": lambda: [Forged(b"MVCR" + bytes(60), 1, Encoding.RECIPE)],
    "a recipe of itself": lambda: [Forged(itself(), 1, Encoding.RECIPE)],
    "a recipe of a recipe": of_a_recipe,
    "a recipe of another size": lambda: [Forged(itself(), 2, Encoding.RECIPE)],
    "a recipe of 10^9 spans": lambda: [
        Forged(parts(30_000, 30_000), 9 * 10**8, Encoding.RECIPE),
        Forged(b"x", 1, digest=digest_of(b"x")),
    ],
}


@pytest.mark.parametrize("attack", FRAMES)
def test_a_forged_frame_is_one_clear_error(project: Project, attack: str, tmp_path: Path) -> None:
    """A lying frame stops ``checkout`` with a line, and every check ends, in bounded memory."""
    put_version(project, FRAMES[attack]())
    target = tmp_path / "out.bin"
    said = confined(lambda: project.open().checkout("net@v2", target), seconds=6)
    assert said.startswith(("Damaged:", "FormatError:", "Unsupported:")), said
    assert not target.exists()
    assert "\n" not in said
    assert confined(lambda: project.open().show("net@v2").id) == "net/v2"
    for level in LEVELS:
        ended = confined(partial(check, project, level))
        assert ended in ("True", "False"), level
    assert confined(partial(check, project, "full")) != "True"
    assert bytes_of(project.open(), "net/v1") == project.held["net/v1"]


def check(project: Project, level: str) -> bool:
    return project.open().fsck(level).ok


def test_a_forged_object_is_never_handed_out(project: Project, tmp_path: Path) -> None:
    """What a forged frame claims to be is not checked out as that, whoever added the real file."""
    source = tmp_path / "mine.bin"
    source.write_bytes(b"mine, all mine")
    forged = Forged(b"theirs, not me", 14, digest=digest_of(source.read_bytes()))
    put_version(project, [forged])
    added = project.open().add("net", source)
    target = tmp_path / "out.bin"
    try:
        project.open().checkout(added.id, target)
    except Damaged:
        assert not target.exists()
        assert not project.open().fsck("full").ok
    else:
        assert target.read_bytes() == source.read_bytes()
