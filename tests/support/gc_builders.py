"""What the tests of gc share: ways to make things old, and a store to compare with later."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from mvc import ModelRegistry
from mvc.registry.care.gc import Collected
from mvc.registry.sealed import timestamp
from tests.support.registry_builders import Project, files_in, resealed, rewrite

NOW = timedelta(0)
DAY = timedelta(days=1)


def collected(project: Project, grace: timedelta | None = NOW, **options: bool) -> Collected:
    """Collect as a new process would, by default everything that may go."""
    return project.registry().gc(grace, **options)


def store_of(project: Project) -> dict[str, bytes]:
    """Return every file of a project's store that counts, to compare with later.

    What a gc notes of itself is left out: its lock, and how much was needed.
    """
    found = files_in(project.mvc / "store")
    found.pop("collected.yaml", None)
    return {name: data for name, data in found.items() if not name.startswith("locks/")}


def everything(project: Project) -> dict[str, bytes]:
    """Return the files of store and manifest."""
    manifest = files_in(project.mvc / "manifest")
    return store_of(project) | {
        f"manifest/{name}": data
        for name, data in manifest.items()
        if not name.endswith("family.yaml")
    }


def made_old(path: Path, age: timedelta) -> None:
    """Let a file look as if it had last been changed so long ago."""
    then = time.time() - age.total_seconds()
    os.utime(path, (then, then))


def all_made_old(project: Project, age: timedelta) -> None:
    """Let every pack and root look so old."""
    store = project.mvc / "store"
    for path in (*store.glob("packs/*"), *store.glob("roots/*/*")):
        made_old(path, age)


def dated(project: Project, event: int, age: timedelta, family: str = "net") -> None:
    """Let an event have been made so long ago."""
    created = timestamp(datetime.now(timezone.utc) - age)
    rewrite(project.event(event, family), lambda data: resealed(data, created=created))


def roots_of(project: Project) -> list[Path]:
    """Return the roots of all registries on a project's store."""
    return sorted((project.mvc / "store" / "roots").glob("*/*.yaml"))


def trash_of(project: Project) -> list[Path]:
    """Return what lies in the trash."""
    return sorted((project.mvc / "store" / "trash").glob("*"))


def on_store_of(project: Project, folder: Path) -> Project:
    """Make another registry on the same store."""
    folder.mkdir()
    made = Project(folder)
    ModelRegistry(folder).init(store=project.mvc / "store")
    return made
