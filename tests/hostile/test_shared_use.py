"""Several people on one registry: what a group may do together, and what shuts others out."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvc.registry.location import place
from tests.hostile.test_tampered_registries import snapshot
from tests.support.users import ANNA, BEN, TEAM, User, needs_root, shared_folder

pytestmark = needs_root

READS = [
    ["list"],
    ["log"],
    ["show", "net"],
    ["status"],
    ["search", "acc > 0"],
    ["du"],
    ["path", "net@v1"],
    ["fsck", "--full"],
    ["store", "info"],
    ["checkout", "net@v1", "-o", f"../home-{BEN}/out.bin"],
]
WRITES = [
    ["add", "net", "../m2.bin"],
    ["add", "new", "../m2.bin"],
    ["add", "net", "--from", "net@v1", "-m", "acc=1"],
    ["tag", "net@v1", "mine"],
    ["best", "net", "acc"],
    ["rm", "net@v2"],
    ["gc", "--grace", "0"],
    ["repack"],
    ["fsck", "--repair"],
]


@pytest.fixture
def folder() -> Iterator[Path]:
    yield from shared_folder()


def begun_by(anna: User) -> None:
    assert anna.mvc("init").status == 0
    for number in (0, 1):
        added = anna.mvc("add", "net", f"../m{number}.bin", "-m", f"acc=0.{number + 1}")
        assert added.status == 0, added


def test_a_group_does_everything_together(folder: Path) -> None:
    """With a setgid folder and umask 002 each does what the other can, to the other's versions."""
    anna, ben = User(ANNA, folder), User(BEN, folder)
    begun_by(anna)
    for arguments in (*READS, *WRITES, ["store", "move", "elsewhere"]):
        said = ben.mvc(*arguments)
        assert said.status == 0, (arguments, said)
    for arguments in (["add", "net", "../m3.bin"], ["tag", "new@v1", "hers"], ["rm", "net@v3"]):
        assert anna.mvc(*arguments).status == 0, arguments
    assert anna.mvc("gc", "--grace", "0").status == 0
    assert anna.mvc("fsck", "--full").status == 0
    assert {os.lstat(path).st_gid for path in folder.rglob("*")} == {TEAM}


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o027, 0o077], ids=oct)
def test_modes_are_what_the_umask_leaves(folder: Path, umask: int) -> None:
    """Folders are 0777, what is replaced 0666, what is created once 0444: all less the umask."""
    anna = User(ANNA, folder, umask=umask)
    for arguments in (
        ["init"],
        ["add", "net", "../m0.bin", "-m", "acc=0.5", "-t", "prod"],
        ["add", "net", "../m1.bin"],
    ):
        assert anna.mvc("-C", ".", *arguments).status == 0
    assert (anna.mvc("list").status == 4) == (umask == 0), "it is open to anyone"
    made = sorted((folder / ".mvc").rglob("*"))
    assert len(made) > 25
    for path in made:
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        once = path.name == "store.yaml" or path.parent.name in ("packs", "versions", "events")
        once = once or path.parent.parent.name == "roots"
        expected = 0o2777 if path.is_dir() else 0o444 if once else 0o666
        assert mode == expected & ~umask, path


@pytest.mark.parametrize("common", [True, False], ids=["group reads", "no common group"])
def test_who_may_only_read_reads_everything_and_writes_nothing(folder: Path, common: bool) -> None:
    """Each refusal is one line with a hint and status 8; nothing of the registry changes."""
    anna = User(ANNA, folder, umask=0o022)
    ben = User(BEN, folder, groups=(TEAM,) if common else ())
    begun_by(anna)
    before = snapshot(folder / ".mvc")
    for arguments in READS:
        said = ben.mvc(*arguments)
        assert said.status == 0, (arguments, said)
    for arguments in WRITES:
        said = ben.mvc(*arguments)
        assert said.is_clear(8), (arguments, said)
        assert "no permission for" in said.err
        assert said.out == ""
    assert snapshot(folder / ".mvc") == before


def test_a_private_registry_shuts_others_out(folder: Path) -> None:
    """Under umask 077 every command of another user ends in one line, also in the same group."""
    begun_by(User(ANNA, folder, umask=0o077))
    ben = User(BEN, folder)
    for arguments in (*READS, *WRITES, ["init"]):
        said = ben.mvc(*arguments)
        assert said.is_clear(8), (arguments, said)
        assert "no permission for" in said.err


def test_a_family_that_is_closed_takes_nothing_and_nothing_is_stored_for_it(folder: Path) -> None:
    """Where a colleague's umask closed a family, ``add`` says so before it reads the file."""
    anna, ben = User(ANNA, folder), User(BEN, folder, umask=0o022)
    begun_by(anna)
    assert ben.mvc("add", "hers", "../m2.bin").status == 0
    before = snapshot(folder / ".mvc")
    said = anna.mvc("add", "hers", "../m3.bin")
    assert said.is_clear(8)
    assert "manifest/hers'" in said.err
    assert snapshot(folder / ".mvc") == before
    assert anna.mvc("add", "net", "../m3.bin").out == "net/v3\n"


def test_a_colleagues_pack_comes_back_from_the_trash(folder: Path) -> None:
    """Linux lets nobody link another's read-only file: what a gc must put back is copied."""
    anna, ben = User(ANNA, folder), User(BEN, folder)
    begun_by(anna)
    packs, trash = folder / ".mvc/store/packs", folder / ".mvc/store/trash"
    names = sorted(path.name for path in packs.iterdir())
    trash.mkdir()
    os.chown(trash, ANNA, TEAM)
    trash.chmod(0o2775)
    for name in names:
        os.utime(packs / name, ns=(10**18, 10**18))
        (packs / name).rename(trash / f"{'a' * 32}-{name}")
    assert ben.mvc("checkout", "net@v1", "-o", f"../home-{BEN}/out.bin").status == 0
    assert ben.mvc("gc", "--grace", "0").status == 0
    assert sorted(path.name for path in packs.iterdir()) == names
    assert {os.stat(path).st_mtime_ns for path in packs.iterdir()} == {10**18}
    assert list(trash.iterdir()) == []
    assert ben.mvc("fsck", "--full").status == 0


@pytest.mark.parametrize("command", ["add", "repair"])
def test_a_colleagues_damaged_pack_is_kept_aside_and_replaced(folder: Path, command: str) -> None:
    """Its bytes are in quarantine, whoever it belonged to, and what it held is whole again."""
    anna, ben = User(ANNA, folder), User(BEN, folder)
    begun_by(anna)
    damaged = set()
    for pack in (folder / ".mvc/store/packs").iterdir():
        data = bytearray(pack.read_bytes())
        data[200] ^= 0xFF
        pack.write_bytes(data)
        damaged.add(bytes(data))
    assert ben.mvc("fsck").status == 3
    if command == "add":
        for number in (0, 1):
            assert ben.mvc("add", "net", f"../m{number}.bin").status == 0
    sources = ["--from", "../m0.bin", "--from", "../m1.bin"] if command == "repair" else []
    assert ben.mvc("fsck", "--repair", *sources).status == 0
    assert ben.mvc("fsck", "--full").status == 0
    kept = (folder / ".mvc/store/quarantine").iterdir()
    assert {path.read_bytes() for path in kept} == damaged


def test_in_sticky_folders_each_removes_only_their_own(folder: Path) -> None:
    """Where a folder lets only owners remove, gc and repack of another fail and lose nothing."""
    anna, ben = User(ANNA, folder), User(BEN, folder)
    begun_by(anna)
    for path in [folder / ".mvc", *(folder / ".mvc").rglob("*")]:
        if path.is_dir():
            path.chmod(0o3775)
    assert ben.mvc("add", "net", "../m2.bin").out == "net/v3\n"
    assert ben.mvc("rm", "net@v1").status == 0
    assert ben.mvc("gc", "--grace", "0").is_clear(8)
    assert ben.mvc("repack").is_clear(8)
    assert ben.mvc("fsck", "--full").status == 0
    assert anna.mvc("gc", "--grace", "0").status == 0
    assert anna.mvc("fsck", "--full").status == 0
    assert anna.mvc("add", "net", "../m3.bin").out == "net/v4\n"


def test_a_registry_of_somebody_else_leads_to_no_harm(folder: Path) -> None:
    """One whose settings name a store of mine, under my ids, does not make me empty that store."""
    ben = User(BEN, folder)
    begun_by(ben)
    evil = folder.parent / "evil"
    shutil.copytree(folder / ".mvc/manifest", evil / ".mvc/manifest")
    for record in evil.glob(".mvc/manifest/net/versions/*"):
        record.unlink() if record.name == "v1.yaml" else None
    known = place.read(folder / ".mvc")
    inode = os.stat(evil / ".mvc").st_ino
    settings = place.settings_for(
        evil / ".mvc", known.id, inode, folder / ".mvc/store", known.store_id
    )
    (evil / ".mvc/config.yaml").write_bytes(settings)
    before = snapshot(folder / ".mvc/store")
    for path in [evil, *evil.rglob("*")]:
        os.chown(path, ANNA, ANNA)
    tempted = User(BEN, evil)
    for arguments in (
        ["gc", "--grace", "0", "--orphans"],
        ["repack"],
        ["rm", "net@v2"],
        ["add", "net", "../m2.bin"],
        ["fsck", "--repair"],
        ["store", "move", f"../home-{BEN}/store"],
    ):
        assert tempted.mvc(*arguments).is_clear(8), arguments
    (evil / ".mvc").chmod(0o777)
    assert tempted.mvc("gc", "--grace", "0", "--orphans").is_clear(4)
    assert snapshot(folder / ".mvc/store") == before
