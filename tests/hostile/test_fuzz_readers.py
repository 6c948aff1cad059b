"""Every reader of ours, fed with damage: ``FormatError``, or the right answer, and soon.

Half of the damage is blind. The other half knows the format and mends what
is checked first, the seal, the checksums, the pack's name, so that it gets to
what is checked after. ``MVC_FUZZ_SECONDS`` is how long the long run takes for
each reader (60); a failure names the reader and the number of its input.
"""

from __future__ import annotations

import os
import random
import struct
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mvc import ModelRegistry, codecs, lines, recipe, tree
from mvc.codecs import Base, Encoding, zstd
from mvc.codecs.zstd import Effort
from mvc.compatibility import FORMAT
from mvc.digest import checksum_of, digest_of
from mvc.errors import MvcError
from mvc.recipe import ObjectRef, Part, Recipe, TensorEntry
from mvc.registry import event as events
from mvc.registry import record as records
from mvc.registry.event import BestRule, Change, Event, Tagged
from mvc.registry.record import Artifact
from mvc.registry.search import columns
from mvc.store import Store, pack, salvage
from mvc.store.index import FILE_NAME
from mvc.store.mark import Census, Need, reachable
from mvc.tree import Tree, TreeFile
from tests.support import tally
from tests.support.fault_forger import IDENTITY, NOWHERE, TIME, Forged, put_pack, record
from tests.support.faults import Project, make_weights
from tests.support.mutations import NUMBERS, damaged, damaged_lines

SECONDS = 0.3
MAX_TIME = 10.0  # of processor, with memory traced
MAX_MEMORY = 128 << 20  # for inputs under 100 KiB

Read = Callable[[random.Random], object]


def fuzz(name: str, read: Read, first: int, seconds: float) -> None:
    """Have inputs read from number ``first`` on; what is refused must be refused by name.

    Memory is traced for the first quarter only, which takes several times as long.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracemalloc.start()
        try:
            first = _fuzz(name, read, first, seconds / 4)
        finally:
            tracemalloc.stop()
        _fuzz(name, read, first, seconds * 3 / 4)


def _fuzz(name: str, read: Read, number: int, seconds: float) -> int:
    end, left = time.monotonic() + seconds, 1
    while time.monotonic() < end or left:
        tracemalloc.reset_peak()
        before, start = tracemalloc.get_traced_memory()[0], time.process_time()
        try:
            with suppress(MvcError):
                read(random.Random(f"{name} {number}"))
            assert time.process_time() - start < MAX_TIME
            assert tracemalloc.get_traced_memory()[1] - before < MAX_MEMORY
        except Exception as error:
            raise AssertionError(f"input {number} of {name!r}: {error!r}") from error
        number, left = number + 1, 0
        tally.count("inputs fuzzed", of=name)
    return number


# Readers of bytes alone: what they accept they write again as it was.

FILES = (
    TreeFile(0o644, 3, digest_of(b"abc"), "a/b.bin"),
    TreeFile(0o755, 0, digest_of(b""), "ö"),
)
RECIPE = Recipe(
    1000,
    (ObjectRef(NOWHERE, 600), ObjectRef(digest_of(b"x"), 400)),
    (Part(0, 2, 0, 1000),),
    (TensorEntry("w", "float32", (10, 25), 0, 2, 0, 1000),),
)


def a_record(source: random.Random) -> bytes:
    artifact = Artifact("directory", "d", NOWHERE, 3, files=2, listing=FILES)
    made = record(metrics={"acc": 0.5, "n": 1 << 70, "loss": "nan"}, params={"a": [1, {"b": None}]})
    return records.encode(replace(made, artifact=source.choice([artifact, made.artifact])))


def an_event(source: random.Random) -> bytes:
    changes: list[Change] = [Tagged("prod", 1, NOWHERE, None), BestRule("acc", "max")]
    change = source.choice(changes)
    return events.encode(Event("net", IDENTITY, TIME, change, "eve", None, 1))


def hurt(data: bytes, source: random.Random) -> bytes:
    """Damage a sealed file: blindly, or below a seal that holds again."""
    if source.random() < 0.3:
        return damaged(data, source)
    body = lines.unseal(data)
    return lines.seal((damaged_lines if source.random() < 0.7 else damaged)(body, source))


def read_record(source: random.Random) -> None:
    made = records.decode(hurt(a_record(source), source))
    assert records.decode(records.encode(made)) == made


def read_event(source: random.Random) -> None:
    made = events.decode(hurt(an_event(source), source), 1)
    assert events.decode(events.encode(made), 1) == made


def read_tree(source: random.Random) -> None:
    data = (damaged if source.random() < 0.5 else damaged_lines)(tree.encode(Tree(FILES)), source)
    assert tree.encode(tree.decode(data)) == data


def read_recipe(source: random.Random) -> None:
    made = recipe.decode(damaged(recipe.encode(RECIPE), source))
    assert recipe.decode(recipe.encode(made)) == made
    assert sum(span.size for span in made.spans()) == made.size
    assert all(span.offset + span.size <= span.object.size for span in made.spans())


def read_lines(source: random.Random) -> None:
    values = lines.loads(damaged_lines(a_record(source), source))
    assert lines.loads(lines.dumps(values)) == values


READERS: dict[str, Read] = {
    "records": read_record,
    "events": read_event,
    "trees": read_tree,
    "recipes": read_recipe,
    "lines": read_lines,
}

# Encodings, and packs of them: what a store hands out has the digest that was asked for.


def floats(seed: int) -> bytes:
    source = random.Random(seed)
    return struct.pack("<5000f", *(source.gauss(0, 0.02) for _ in range(5000)))


FLOATS = [floats(1), floats(2)]
NEAR = bytearray(FLOATS[0])
NEAR[::40] = bytes(byte ^ 1 for byte in NEAR[::40])
TEXT = b"weights and biases " * 400
PLAIN = [b"raw bytes", TEXT, *FLOATS, bytes(NEAR), TEXT + FLOATS[1]]


def frames() -> list[Forged]:
    """Return a sound frame in each encoding; the last is a recipe, the one before it a delta."""

    def kept(data: bytes, bases: Iterable[Base] = (), depth: int = 0) -> Forged:
        made = codecs.encode(data, 4, list(bases))
        payload, base = b"".join(map(bytes, made.pieces)), made.base
        named = None if base is None else digest_of(FLOATS[0])
        return Forged(payload, len(data), made.encoding, digest_of(data), depth=depth, base=named)

    over = [Base(digest_of(FLOATS[0]), 4, 0, FLOATS[0])]
    refs = ObjectRef(digest_of(TEXT), len(TEXT)), ObjectRef(digest_of(FLOATS[1]), len(FLOATS[1]))
    size = sum(ref.size for ref in refs)
    whole = recipe.encode(Recipe(size, refs, (Part(0, 2, 0, size),)))
    text = Forged(zstd.compress(TEXT, Effort.MATCHES), len(TEXT), Encoding.ZSTD, digest_of(TEXT))
    return [
        Forged(PLAIN[0], len(PLAIN[0]), Encoding.RAW, digest_of(PLAIN[0])),
        text,
        *map(kept, FLOATS),
        kept(bytes(NEAR), over, 1),
        Forged(whole, size, Encoding.RECIPE, digest_of(PLAIN[-1])),
    ]


FRAMES = frames()


def read_payload(source: random.Random) -> None:
    frame = source.choice(FRAMES[1:-1])
    payload = memoryview(damaged(frame.payload, source))
    size = source.choice([frame.size, frame.size, frame.size + 1, source.choice(NUMBERS) % 2**20])
    if frame.encoding == Encoding.DELTA:
        made = codecs.decode_delta(payload, size, FLOATS[0])
    else:
        made = codecs.decode(Encoding(frame.encoding), payload, size)
    assert len(made) == size


READERS["encodings"] = read_payload


def lied(frame: Forged, source: random.Random) -> Forged:
    """Return a frame of which something is not so, under a checksum that fits."""
    known = [digest_of(data) for data in PLAIN]
    number = source.choice([*NUMBERS, frame.size, len(frame.payload)])
    match source.randrange(8):
        case 0:
            return replace(frame, size=number)
        case 1:
            return replace(frame, encoding=source.randrange(8))
        case 2:
            return replace(frame, depth=source.choice([0, 1, 2, 4, 5, 255]))
        case 3:
            return replace(frame, base=source.choice([None, NOWHERE, *known]))
        case 4:
            return replace(frame, digest=source.choice(known))
        case 5:
            return replace(frame, offset=number)
        case 6:
            return replace(frame, stored=number)
        case _:
            return replace(frame, payload=damaged(frame.payload, source))


def reindexed(path: Path, source: random.Random) -> None:
    """Damage a pack's index, and mend its name, footer and checksum."""
    data = path.read_bytes()
    footer = data[-pack.FOOTER_SIZE :]
    _, _, _, _, offset, size, _ = pack.FOOTER.unpack_from(footer)
    index = damaged(data[offset : offset + size], source)
    name = digest_of(index)
    sealed = pack.FOOTER.pack(b"MVCEND\r\n", FORMAT, 0, 0, offset, len(index), name)
    path.unlink()
    whole = data[:offset] + index + sealed + pack.FRAME_CHECKSUM.pack(checksum_of(sealed))
    path.with_name(name.hex() + pack.SUFFIX).write_bytes(whole)


def all_of(store: Store) -> None:
    """Read every object in every way there is; each gives the right bytes, or is refused."""
    for data in PLAIN:
        digest = digest_of(data)
        with suppress(MvcError):
            assert bytes(store.get_object(digest)) == data
        with suppress(MvcError):
            got = b"".join(map(bytes, store.pieces(digest, hashed=True)))
            assert got == data or store.recipe(digest) is not None
    with suppress(MvcError):
        reachable(Census.of(store), [Need(digest_of(data)) for data in PLAIN])


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def read_packs(store: Store, source: random.Random) -> None:
    """Read a store of one pack that is damaged somewhere, and another one that is whole."""
    packs = store.folder / "packs"
    emptied(packs)
    lying = [lied(frame, source) if source.random() < 0.3 else frame for frame in FRAMES]
    path = put_pack(packs, lying)
    if source.random() < 0.3:
        reindexed(path, source)
    elif source.random() < 0.4:
        path.write_bytes(damaged(path.read_bytes(), source))
    if source.random() < 0.3:
        put_pack(packs, FRAMES[1:3])
    all_of(Store.open(store.folder))
    for path in packs.iterdir():
        pack.is_whole(path)
        with suppress(MvcError):
            for entry, payload in salvage.frames(path):
                with suppress(MvcError):
                    assert salvage.Salvage(store).is_whole(entry, payload) in (True, False)


def read_merged(store: Store, source: random.Random) -> None:
    """Read sound packs by an index in the cache that lies: never other bytes, and no other error.

    What is found by asking the packs is found whatever the cache says.
    """
    packs, cache = store.folder / "packs", store.folder / "cache"
    put_pack(packs, FRAMES[:3])
    put_pack(packs, FRAMES[2:])
    cache.mkdir(exist_ok=True)
    whole = merged(store, cache)
    names_end = HEAD + 2 * 32
    if source.random() < 0.7:
        rows = damaged(whole[names_end + 8 :], source)
        count = len(rows) // pack.INDEX_ENTRY.size
        head = whole[: HEAD - 8] + struct.pack("<Q", count) + whole[HEAD:names_end]
        rows = rows[: count * pack.INDEX_ENTRY.size]
        made = head + pack.FRAME_CHECKSUM.pack(checksum_of(head)) + rows
    else:
        made = damaged(whole, source)
    (cache / FILE_NAME).write_bytes(made)
    opened = Store.open(store.folder, cache=cache)
    all_of(opened)
    opened.index.merged_is_right()
    alone = Store.open(store.folder)
    assert all(bytes(alone.get_object(digest_of(data))) == data for data in PLAIN[:-1])


HEAD = struct.calcsize("<4sHHIIQ")


def merged(store: Store, cache: Path) -> bytes:
    (cache / FILE_NAME).unlink(missing_ok=True)
    opened = Store.open(store.folder, cache=cache)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mvc.store.index.MOST_UNCOVERED", 0)
        opened.index.merge_if_due()
    return (cache / FILE_NAME).read_bytes()


STORES: dict[str, Callable[[Store, random.Random], None]] = {
    "packs": read_packs,
    "merged indexes": read_merged,
}

# Files of a registry: whatever one of them holds, every command ends, and what it says is true.

OF_A_REGISTRY = {
    "records in a registry": "manifest/net/versions/v2.yaml",
    "events in a registry": "manifest/net/events/00000001.yaml",
    "family.yaml": "manifest/net/family.yaml",
    "config.yaml": "config.yaml",
    "newest.yaml": "newest.yaml",
    "rooted.yaml": "rooted.yaml",
    "store.yaml": "store/store.yaml",
    "alternates.yaml": "store/alternates.yaml",
    "moved-to.yaml": "store/moved-to.yaml",
    "collected.yaml": "store/collected.yaml",
    "roots": "store/roots/*/*.yaml",
    "digest caches": "cache/digests",
    "query indexes": "cache/query-*.sqlite",
}
DERIVED = {"family.yaml", "newest.yaml", "rooted.yaml", "digest caches", "collected.yaml"}
LOOKS: list[Callable[[ModelRegistry], object]] = [
    lambda registry: registry.log(),
    lambda registry: registry.get("net@v1"),
    lambda registry: registry.resolve("net@best"),
    lambda registry: registry.resolve("net@prod"),
    lambda registry: registry.search("acc > 0.1"),
    lambda registry: registry.status(registry.folder.parent),
    lambda registry: registry.fsck("quick"),
    lambda registry: registry.du(),
    lambda registry: registry.store_info(),
    lambda registry: registry.gc("0d", dry_run=True),
]


class Registry:
    """A registry whose small files are put back after each use."""

    def __init__(self, project: Project, name: str) -> None:
        self.name = name
        self.folder = project.folder
        mvc = project.folder / ".mvc"
        (self.path,) = list(mvc.glob(OF_A_REGISTRY[name]))[:1] or [mvc / OF_A_REGISTRY[name]]
        self.whole = self.path.read_bytes() if self.path.exists() else b""
        if not self.whole:
            key = "alternates" if "alternates" in name else "to"
            value = [str(mvc / "store")] if "alternates" in name else str(mvc / "nowhere")
            self.whole = lines.dumps({"mvc": FORMAT, key: value})
        self.kept = {path: path.read_bytes() for path in mvc.rglob("*") if path.is_file()}
        self.right = self.said()

    def said(self) -> tuple[list[str], str, str]:
        opened = ModelRegistry(self.folder, create=False)
        found = [version.id for version in opened.search("acc > 0.1")]
        return found, opened.resolve("net@best").id, opened.resolve("net@prod").id

    def read(self, source: random.Random) -> None:
        data, sealed = self.whole, self.name in ("family.yaml",) or "in a reg" in self.name
        blind = source.random() < 0.3 or self.name == "query indexes"
        if blind:
            data = damaged(data, source)
        elif sealed or self.name == "roots":
            data = hurt(data, source)
        else:
            data = damaged_lines(data, source)
        self.path.chmod(0o644) if self.path.exists() else None
        self.path.write_bytes(data)
        try:
            if blind and self.name in DERIVED:
                assert self.said() == self.right
            for look in source.sample(LOOKS, 3):
                with suppress(MvcError):
                    look(ModelRegistry(self.folder, create=False))
        finally:
            self.put_back()

    def put_back(self) -> None:
        if self.path not in self.kept:
            self.path.unlink(missing_ok=True)
        for path, data in self.kept.items():
            if not path.exists() or path.read_bytes() != data:
                path.chmod(0o644) if path.exists() else None
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)


@pytest.fixture
def registry(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two versions, a tag, a withdrawn third; a query index, as where there are many."""
    monkeypatch.setattr(columns, "SMALL", 0)
    for number in (2, 3):
        make_weights(project.folder / "w.safetensors", number, 2000)
        project.add("net", project.folder / "w.safetensors", metrics={"acc": number / 10})
    project.open().tag("net@v1", "prod")
    project.open().rm("net@v3")
    project.open().status(project.folder)
    project.open().search("acc > 0")
    return project


@pytest.fixture
def store(tmp_path: Path) -> Store:
    Store.create(tmp_path / "store")
    return Store.open(tmp_path / "store")


def test_what_the_damage_begins_with_is_whole(store: Store, registry: Project) -> None:
    """Undamaged, all of it reads as it should: the runs below start from good files."""
    put_pack(store.folder / "packs", FRAMES)
    opened = Store.open(store.folder)
    for data in PLAIN:
        assert b"".join(map(bytes, opened.pieces(digest_of(data), hashed=True))) == data
    assert {frame.encoding for frame in FRAMES} == set(Encoding)
    assert Registry(registry, "config.yaml").right == (["net/v2", "net/v1"], "net/v1", "net/v1")


@pytest.mark.parametrize("name", READERS)
def test_damaged_bytes_are_refused_or_mean_what_they_say(name: str) -> None:
    """A reader of bytes raises ``FormatError``, or what it returns is written as it was read."""
    fuzz(name, READERS[name], 0, SECONDS)


@pytest.mark.parametrize("name", STORES)
def test_damaged_stores_hand_out_nothing_wrong(store: Store, name: str) -> None:
    """Whatever lies in a pack or an index, an object has its digest or is refused."""
    fuzz(name, lambda source: STORES[name](store, source), 0, SECONDS)


@pytest.mark.parametrize("name", OF_A_REGISTRY)
def test_damaged_files_of_a_registry_are_errors_of_mvc(registry: Project, name: str) -> None:
    """Every command that reads ends with an answer or an error of ours, whatever the file holds."""
    fuzz(name, Registry(registry, name).read, 0, SECONDS)


@pytest.mark.long
@pytest.mark.parametrize("name", [*READERS, *STORES, *OF_A_REGISTRY])
def test_damage_for_a_long_time(store: Store, registry: Project, name: str) -> None:
    """The same, with other damage each time and for as long as one likes."""
    seconds = float(os.environ.get("MVC_FUZZ_SECONDS", "60"))
    if name in READERS:
        read = READERS[name]
    elif name in STORES:
        read = lambda source: STORES[name](store, source)  # noqa: E731
    else:
        read = Registry(registry, name).read
    fuzz(name, read, time.time_ns(), seconds)
