"""Commands to kill, to fail and to lie to, each with a project that gives it something to do."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from mvc.fileio import PRIVATE_PREFIX
from tests.cli.running import Outcome, mvc
from tests.support.faults import Project, make_noise, make_weights, records_of, whole
from tests.support.registry_builders import files_in, flip, noise

# Files that a command is given lie in the project, so that a copy of it has them.
GIVEN = "given"
MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, what it finds, and the statuses with which a repeat may end."""

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[Project], None] = lambda project: None
    again: tuple[int, ...] = (0,)

    def __str__(self) -> str:
        return f"mvc {self.name}"


def given(project: Project, name: str, data: bytes) -> Path:
    """Put a file where a command may take it from."""
    path = project.folder / GIVEN / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def near_models(count: int) -> list[bytes]:
    """Return models of which each is near the one before."""
    weights = np.random.default_rng(0).normal(0, 0.02, 20_000).astype("<f4")
    models = []
    for _ in range(count):
        models.append(save({"w": weights}))
        weights = np.nextafter(weights, np.float32(1))
    return models


def _file(project: Project) -> None:
    make_noise(given(project, "model.bin", b""), 3)


def _folder(project: Project) -> None:
    make_weights(given(project, "folder/model.safetensors", b""), 3)
    given(project, "folder/sub/config.json", b"{}")


def _delta(project: Project) -> None:
    first, second = near_models(2)
    project.add("net", given(project, "first", first))
    given(project, "model.safetensors", second)


def _series(project: Project) -> None:
    for number, data in enumerate(near_models(3)):
        project.add("series", given(project, f"{number}", data))


def _tagged(project: Project) -> None:
    project.open().tag("net@v2", "prod")


def _withdrawn(project: Project) -> None:
    project.open().rm("net@v2")


def _garbage(project: Project) -> None:
    """A version to release, a pack to write anew, one to drop."""
    folder = given(project, "folder/shared", noise(20_000, 50)).parent
    for number in (3, 4):
        given(project, "folder/own", noise(20_000, number))
        project.open().add("net", folder)
    project.open().add("gone", given(project, "gone", noise(400, 9)))
    project.open().rm("net@v3")
    project.open().rm("gone@v1")


def _damage(project: Project) -> None:
    """A rotten frame, a footer and a record; whole copies of the files lie in ``given``."""
    for number, kind in ((3, 120), (4, -20)):
        there = set(_packs(project))
        project.add("hurt", given(project, f"source/{number}", noise(3000, number)))
        (pack,) = set(_packs(project)) - there
        flip(pack, kind)
    flip(project.folder / ".mvc/manifest/net/versions/v1.yaml", 60)


def _packs(project: Project) -> list[Path]:
    return list((project.folder / ".mvc/store/packs").glob("*.pack"))


def _older_file(project: Project) -> None:
    (project.folder / "model.bin").write_bytes(project.held["net/v2"])


def _older_folder(project: Project) -> None:
    folder = given(project, "folder/a", b"a").parent
    given(project, "folder/old/deep", b"old")
    project.open().add("folders", folder)
    shutil.rmtree(folder / "old")
    given(project, "folder/a", b"A")
    given(project, "folder/new/deep", b"new")
    project.open().add("folders", folder)
    project.open().checkout("folders@v1", project.folder / "out")


def _nothing(project: Project) -> None:
    shutil.rmtree(project.folder / ".mvc")
    project.held.clear()


COMMANDS = (
    Command("add", ("add", "net", f"{GIVEN}/model.bin", "-m", "acc=0.9"), _file),
    Command("add of a folder", ("add", "net", f"{GIVEN}/folder"), _folder),
    Command("add of a delta", ("add", "net", f"{GIVEN}/model.safetensors"), _delta),
    Command("tag", ("tag", "net@v2", "prod")),
    Command("rollback", ("rollback", "net@prod"), _tagged, again=(0, 4)),
    Command("rm", ("rm", "net@v2"), again=(0, 4)),
    Command("restore", ("restore", "net@v2"), _withdrawn),
    Command("gc", ("gc", "--grace", "0"), _garbage),
    Command("repack", ("repack",), _series),
    Command("store move", ("store", "move", MOVED)),
    Command("fsck --repair", ("fsck", "--repair", "--from", f"{GIVEN}/source"), _damage),
    Command("checkout", ("checkout", "net@v1", "-o", "model.bin"), _older_file),
    Command("checkout of a folder", ("checkout", "folders@v2", "-o", "out"), _older_folder),
    Command("init", ("init",), _nothing),
)


def run(project: Project, arguments: tuple[str, ...]) -> Outcome:
    """Carry a command through in this process."""
    return mvc("-C", os.fspath(project.folder), *arguments)


def hurt_in(project: Project) -> set[str]:
    """Return the versions that are damaged."""
    registry = project.open()
    findings = registry.fsck().findings if registry.folder.exists() else ()
    return {version for finding in findings for version in finding.versions}


def state_of(project: Project) -> dict[str, object]:
    """Return what a project amounts to, whatever numbers, times and names a repeat gave anew."""
    registry = project.open()
    if not registry.folder.exists():
        return {}
    families = {name: registry.family(name) for name in registry.list()}
    store = registry.presence.if_there()
    versions = set()
    for identity in records_of(registry):
        name, _, number = identity.partition("/v")
        record, _ = registry.manifest.record(name, int(number))
        versions.add((name, record.artifact.digest, int(number) in families[name].withdrawn))
    depths: dict[object, int] = {}
    for pack in store.index.packs() if store else ():
        for entry in pack.index:
            depths[entry.digest] = min(entry.depth, depths.get(entry.digest, entry.depth))
    outside = {
        path: data
        for path, data in files_in(project.folder).items()
        if not path.startswith((".mvc/", f"{MOVED}/")) and PRIVATE_PREFIX not in path
    }
    return {
        "versions": versions,
        "tags": {name: known.tags for name, known in families.items()},
        "objects": set(depths),
        "depths": depths,
        "store": os.path.relpath(store.folder, project.folder) if store else None,
        "outside": outside,
    }


def amounts_to(project: Project, expected: dict[str, object], but: str = "depths") -> bool:
    """Say whether all is there that counts: what could not be read when it was needed is no base.

    ``but`` is what else does not count.
    """
    left = {"depths": ..., but: ...}
    return state_of(project) | left == expected | left


def said_less(status: int, err: str) -> bool:
    """Say whether a command told that it did not do all: what it cannot read it does not remove."""
    return status != 0 or "warning: " in err or " stays in " in err


def said_well(status: int, err: str) -> str:
    """Return how a command ended if that is not as it should: an error is one line, foreseen.

    A check names what is damaged among its answers.
    """
    errors = sum(line.startswith("error: ") for line in err.splitlines())
    good = status in range(9) and (errors == (status != 0) or (errors, status) == (0, 3))
    return "" if good and "Traceback" not in err and "internal" not in err else f"{status}: {err}"


def check_failed(
    copy: Project,
    command: Command,
    ended: tuple[int, str],
    after: dict[str, object],
    hurt: set[str],
    told: object,
) -> None:
    """Assert that a command in which a call failed said so, or did its work, and can be repeated.

    Args:
        ended: Its status, and what it said on stderr.
        after: The state that the command leaves where nothing fails.
        hurt: The versions that were hurt before.
        told: What is shown where it is not so.
    """
    assert said_well(*ended) == "", told
    # What a gc could not read it has not removed.
    assert said_less(*ended) or amounts_to(copy, after, but="objects"), told
    if hurt:
        assert hurt_in(copy) <= hurt, told
    elif (copy.folder / ".mvc").exists():
        whole(copy)
    again = run(copy, command.arguments)
    assert again.status in command.again, (told, again)
    whole(copy)
    assert amounts_to(copy, after), told


def settled(project: Project) -> None:
    """Let everything be an hour old, and noted: what is fresh is looked at more often."""
    then = time.time() - 3600
    for above, folders, names in os.walk(project.folder):
        for name in (*folders, *names):
            os.utime(os.path.join(above, name), (then, then), follow_symlinks=False)
    if project.open().folder.exists():
        project.open().log()
