"""Trees that were made to do harm, in a store with all digests and checksums right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mvc import MvcError
from mvc.codecs import Encoding
from mvc.digest import Digest, digest_of
from mvc.recipe import ObjectRef, Part, Recipe, encode
from mvc.registry import record as records
from mvc.registry.record import Artifact
from tests.support.fault_forger import NOWHERE, Forged, put_pack, put_record, record
from tests.support.faults import Project, confined

pytestmark = pytest.mark.filterwarnings("ignore::mvc.StoreWarning")

DATA = b"weights"
FILE = digest_of(DATA)


def line(path: str, mode: str = "0644", size: int = len(DATA), digest: Digest = FILE) -> bytes:
    return f"{mode} {size} {digest} {path}\n".encode("utf-8", "surrogateescape")


TREES: dict[str, bytes] = {
    "nothing": b"",
    "a file instead": b"\x80\x02}q\x00.",
    "zeros": bytes(5000),
    "cut off": line("a")[:-1],
    "its folder's parent": line("../escaped"),
    "deeper, and out again": line("a/../../escaped"),
    "an absolute path": line("/tmp/escaped"),
    "hooks of git": line(".git/hooks/post-checkout", "0755"),
    "hooks of git in capitals": line("sub/.GIT/config"),
    "the registry itself": line(".mvc/config.yaml"),
    "setuid": line("a", "4755"),
    "a link of git": line("a", "120000"),
    "open to all": line("a", "0777"),
    "a device": line("a", "020644"),
    "Data beside data": line("Data/a") + line("data/b"),
    "a file that is a folder": line("a") + line("a/b"),
    "not sorted": line("b") + line("a"),
    "twice": line("a") + line("a"),
    "a terminal's orders": line("\x1b[2J"),
    "a size without end": line("a", size=1 << 62),
    "not UTF-8": line("\udcff"),
}


def put_directory(project: Project, data: bytes, **facts: int) -> None:
    """Make ``net/v2`` a directory of which only the store has the list."""
    frames = [Forged(data, len(data), digest=digest_of(data)), Forged(DATA, 7, digest=FILE)]
    put_pack(project.folder / ".mvc/store/packs", frames)
    claims = {"files": data.count(b"\n") or 1, "size": 7 * data.count(b"\n"), **facts}
    artifact = Artifact("directory", "model", digest_of(data), **claims)  # type: ignore[arg-type]
    put_record(project, records.encode(record(artifact=artifact)))


def everything(project: Project, out: Path) -> None:
    """Use the version in every way; each use that fails is one line."""
    registry = project.open()
    version = registry.show("net@v2")
    assert not version.present
    for attempt in (
        lambda: registry.files("net@v2"),
        lambda: registry.checkout("net@v2", out),
        lambda: registry.path("net@v2"),
        lambda: registry.add("other", from_version="net@v2"),
    ):
        with pytest.raises(MvcError) as raised:
            attempt()
        assert "\n" not in raised.value.message
        assert raised.value.message.isprintable()
        assert len(raised.value.message) < 600
    assert registry.du().families
    registry.status(project.folder)
    for level in ("quick", "default", "full"):
        report = registry.fsck(level)
        assert any("net/v2" in found.versions for found in report.findings), level
        assert not any("net/v1" in found.versions for found in report.findings), level
    assert registry.add("net", registry.folder.parents[1] / "other.bin").id == "net/v3"


@pytest.mark.parametrize("attack", TREES)
def test_a_forged_tree_is_one_clear_error(project: Project, outside: Path, attack: str) -> None:
    """Nothing is written anywhere, every command says so in a line, other versions stay well."""
    before = {path: os.lstat(path).st_mtime_ns for path in outside.rglob("*")}
    put_directory(project, TREES[attack])
    everything(project, outside / "out")
    assert {path: os.lstat(path).st_mtime_ns for path in outside.rglob("*")} == before
    assert not Path("/tmp/escaped").exists()


@pytest.mark.parametrize("facts", [{"files": 2}, {"size": 8}, {"files": 1 << 40}])
def test_a_tree_that_is_not_what_its_record_tells_is_refused(
    project: Project, outside: Path, facts: dict[str, int]
) -> None:
    """Totals that are not those of the tree are believed by nobody."""
    put_directory(project, line("a"), **facts)
    everything(project, outside / "out")


def test_a_file_that_is_not_as_long_as_its_tree_tells_is_refused(
    project: Project, outside: Path
) -> None:
    """A size that was made up is noticed before the file has its name."""
    put_directory(project, line("a", size=8), size=8)
    registry = project.open()
    with pytest.raises(MvcError):
        registry.checkout("net@v2", outside / "out")
    assert not (outside / "out" / "a").exists()
    assert any("net/v2" in found.versions for found in registry.fsck("full").findings)


def test_a_tree_kept_as_a_file_of_many_gigabytes_is_not_read(project: Project) -> None:
    """A record may name a huge file as its tree: it is refused before it is put together."""
    part, count = 4 << 20, 20_000
    refs = (ObjectRef(FILE, part),) * count
    huge = encode(Recipe(part * count, refs, (Part(0, count, 0, part * count),)))
    frames = [Forged(huge, part * count, Encoding.RECIPE)]
    put_pack(project.folder / ".mvc/store/packs", frames)
    artifact = Artifact("directory", "model", NOWHERE, 7, files=1)
    put_record(project, records.encode(record(artifact=artifact)))

    def refuse() -> int:
        registry = project.open()
        try:
            registry.files("net@v2")
        except MvcError:
            return int(not registry.fsck("quick").ok)
        return 0

    assert confined(refuse, memory=100 << 20, seconds=10) == "1"
