"""doctor: is this set up well? What a registry stands on, looked at and tried.

Each fact says what was found; one with a problem says as well what is wrong
and what to type. Nothing lasting is written: what is tried is tried with a
file under a private name in the store's own place for such, and removed.

What is looked at: ``docs/terminal.md``.
Public names: ``Fact``, ``Diagnosis``, ``examine``, ``software``, ``failed``.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvc import __version__, durability, environment, fileio, versions
from mvc.errors import MvcError, NotFound, Unsupported, is_full
from mvc.registry import resolve
from mvc.registry.checkout import paths
from mvc.registry.location.finding import HOW
from mvc.store import alternates, eviction
from mvc.store.settings import STAGING
from mvc.system_errors import in_words

if TYPE_CHECKING:
    from mvc.registry.location.place import Place
    from mvc.registry.location.presence import Presence
    from mvc.registry.manifest import Manifest

LEAST_FREE = 1_000_000_000
"""Bytes below which a disk counts as full: a model more may not fit."""
MOST_VERSIONS = 50
"""The newest versions, whose bytes are looked for."""
MOST_APART = 5.0
"""Seconds by which two clocks may differ."""
_FREES = "mvc du says what mvc gc, gc --grace 0 or gc --cache frees"
OLDEST_YEAR = 2025
NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "ceph", "lustre", "gluster", "beegfs", "gpfs")
REMARKS = {
    "tmpfs": "in memory: gone when the machine restarts",
    "ramfs": "in memory: gone when the machine restarts",
    "overlay": "of a container: gone with it, unless it is kept",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that was looked at; with a ``problem`` there is a ``hint`` what to type."""

    group: str
    name: str
    found: str
    problem: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was looked at, and whether nothing is to be mended."""

    facts: tuple[Fact, ...]

    @property
    def ok(self) -> bool:
        return not any(fact.problem for fact in self.facts)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {"ok": self.ok, "facts": [asdict(fact) for fact in self.facts]}


def examine(
    place: Callable[[], Place], presence: Callable[[], Presence], manifest: Callable[[], Manifest]
) -> Iterator[Fact]:
    """Look at a registry, its store, and what both stand on. What cannot be opened is a problem."""
    yield from software()
    try:
        opened = place()
    except (MvcError, OSError) as error:
        yield failed("registry", "folder", error)
        return
    yield from _registry(opened, manifest)
    yield from _cache(opened)
    try:
        located = presence().located
        refusal = presence().refusal()
    except (MvcError, OSError) as error:
        yield failed("store", "folder", error)
        return
    folder = located.store.folder
    yield Fact("store", "folder", f"{_short(folder)}, {HOW[located.how]}")
    if isinstance(refusal, MvcError):
        yield failed("store", "writable", refusal)
    else:  # whose rights these are is whose set-up it is
        yield Fact("store", "writable", "no: you may only read" if refusal else "yes")
    for other in alternates.reachable(folder):
        typed = f"mvc store alternates --remove {_short(other.path)}" if other.problem else None
        yield Fact("store", "alternate", _short(other.path), other.problem, typed)
    yield from _newest(manifest, presence)
    yield from _disk(folder)
    if refusal is None:
        yield from _tried(folder)
    else:
        yield Fact("store", "tried", "nothing: it may not be written to")
    yield Fact("store", "durability", f"{durability.chosen()}{_of_level(durability.chosen())}")


def software() -> Iterator[Fact]:
    """Yield versions; what mvc needs and is not installed is a problem."""
    yield Fact("software", "mvc", f"{__version__}")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield Fact("software", "python", f"{python} on {platform.system()} {platform.machine()}")
    for name, wanted in (("libraries", versions.needed()), ("optional", versions.OPTIONAL)):
        found = {library: versions.library(library) for library in wanted}
        there = ", ".join(f"{library} {version}" for library, version in found.items() if version)
        missing = [library for library, version in found.items() if not version]
        if missing and name == "libraries":
            problem = f"not installed: {', '.join(missing)}"
            hint = f"python -m pip install {' '.join(missing)}"
            yield Fact("software", name, there, problem, hint)
        else:
            without = f"; not installed: {', '.join(missing)}" if missing else ""
            yield Fact("software", name, (there or "none") + without)


def failed(group: str, name: str, error: MvcError | OSError) -> Fact:
    """Return the fact that something could not be had, as its error puts it."""
    said = in_words(error)
    found = "none" if isinstance(said, NotFound) else "not usable"
    hint = _FREES if isinstance(error, OSError) and is_full(error) else said.hint
    return Fact(group, name, found, said.message, hint or "mvc fsck says more")


def _registry(place: Place, manifest: Callable[[], Manifest]) -> Iterator[Fact]:
    yield Fact("registry", "folder", _short(place.folder))
    yield _permissions(place.folder)
    yield _clock(manifest)
    if environment.in_git(place.folder):
        yield _git(place)


def _permissions(folder: Path) -> Fact:
    mask = environment.umask()
    found = f"umask {mask:03o}"
    for opened in (folder.parent, folder, folder / "manifest"):
        if opened.is_dir() and environment.anyone_may_write(opened):
            problem = f"anyone may write to '{_short(opened)}'"
            return Fact("registry", "permissions", found, problem, f"chmod o-w {_short(opened)}")
    if not fileio.may_write(folder):
        return Fact("registry", "permissions", f"{found}; you may only read")
    if mask & 0o020 and folder.stat().st_mode & 0o020:
        problem = "your group shares this registry, and could not add to what you make"
        return Fact("registry", "permissions", found, problem, "umask 002")
    return Fact("registry", "permissions", found)


def _clock(manifest: Callable[[], Manifest]) -> Fact:
    now = datetime.now(timezone.utc)
    found, hint = f"{now:%Y-%m-%d %H:%M:%S} UTC", "timedatectl set-ntp true, or set it by: date -s"
    then = f"if this clock is right, one was wrong then, and nothing need be done; else: {hint}"
    if now.year < OLDEST_YEAR:
        return Fact("registry", "clock", found, "the clock is years behind", hint)
    with contextlib.suppress(MvcError, OSError):
        for folder in manifest().families()[:50]:
            number = max(manifest().numbers(folder), default=0)
            created = manifest().record(folder, number)[0].created
            if created > f"{now:%Y-%m-%dT%H:%M:%S}Z":
                late = f"{folder}/v{number} was made at {created[:19]}Z, which is yet to come"
                return Fact("registry", "clock", found, late, then)
    return Fact("registry", "clock", found)


def _git(place: Place) -> Fact:
    ignored = place.folder / ".gitignore"
    try:
        lines = ignored.read_bytes().split()
    except OSError:
        lines = []
    lacking = [
        name for name in ("/store/", "/config.yaml", "/cache/") if name.encode() not in lines
    ]
    if not lacking:
        return Fact("registry", "git", "keeps the records, and neither store nor settings")
    typed = f"printf '%s\\n' {' '.join(lacking)} >> {_short(ignored)}"
    problem = f"git would take what is this machine's own: {', '.join(lacking)}"
    return Fact("registry", "git", "a work tree", problem, typed)


def _cache(place: Place) -> Iterator[Fact]:
    try:
        folder = paths.cache_of(place)
        environment.cache_size()
        size = eviction.size(folder) if folder.is_dir() else 0
    except MvcError as error:
        yield failed("cache", "folder", error)
        return
    found = f"{_short(folder)}, {size / 1e9:.2f} GB of mvc path"
    if paths.may_fill(folder):
        yield Fact("cache", "folder", found)
    else:
        where = f"'{_short(folder)}' may not be written to"
        problem = f"{where}, so mvc path and mvc checkout --link fail"
        yield Fact("cache", "folder", found, problem, "name a folder of your own: MVC_CACHE=DIR")


def _newest(manifest: Callable[[], Manifest], presence: Callable[[], Presence]) -> Iterator[Fact]:
    try:
        found = resolve.log(manifest(), presence(), None, MOST_VERSIONS, False)
    except MvcError as error:
        yield failed("store", "versions", error)
        return
    lost = [version.id for version in found if not version.present]
    told = f"the newest {len(found):,} are there" if found else "none yet"
    if lost:
        problem = f"bytes are missing of {len(lost)} of the newest versions, as of {lost[0]}"
        yield Fact("store", "versions", f"{len(lost)} of {len(found)} are not whole", problem,
                   "mvc fsck says which, and what to do")  # fmt: skip
    else:
        yield Fact("store", "versions", told)


def _disk(folder: Path) -> Iterator[Fact]:
    kind = file_system(folder)
    remark = REMARKS.get(kind, "")
    if kind.startswith(NETWORK):
        remark = "over a network: what is synced is as safe as its server makes it"
    yield Fact("store", "file system", f"{kind}{', ' if remark else ''}{remark}")
    free = fileio.free_space(folder)
    found = _in_bytes(free)
    if free < LEAST_FREE:
        hint = f"{_FREES}; mvc store move DIR takes it elsewhere"
        yield Fact("store", "free", found, f"the disk is almost full: {found} left", hint)
    else:
        yield Fact("store", "free", found)


def _in_bytes(size: int) -> str:
    for unit, least in (("GB", 1e9), ("MB", 1e6)):
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"


def _tried(store: Path) -> Iterator[Fact]:
    """Try with a small file what adding needs."""
    one, other, third = (fileio.private_path(store / STAGING, "-doctor") for _ in range(3))
    try:
        begun = time.monotonic()
        file = fileio.NewFile(one)
        try:
            file.write([bytes(4096)])
            file.sync()
        finally:
            file.close()
        took = time.monotonic() - begun
        yield Fact("store", "sync", f"{took * 1000:.1f} ms for 4 kB")
        apart = abs(one.stat().st_mtime - time.time())
        if apart > MOST_APART:
            yield Fact("store", "clock", f"{apart:.0f} s off",
                       f"the clock of '{_short(store)}' and this machine's are {apart:.0f} s apart",
                       "set both by the same time server: timedatectl set-ntp true")  # fmt: skip
        yield Fact("store", "hard links", _links(one, other))
        yield Fact("store", "reflinks", _reflinks(one, third))
    except OSError as error:
        yield failed("store", "tried", error)
    finally:
        for path in (one, other, third):
            fileio.remove(path)


def _links(one: Path, other: Path) -> str:
    try:
        fileio.link_also(one, other)
    except Unsupported:
        return "none: files get their names by renaming, and mvc path makes copies"
    return "yes"


def _reflinks(one: Path, other: Path) -> str:
    file, descriptor = fileio.NewFile(other), fileio.open_regular(one)
    try:
        return "yes" if file.clone(descriptor) else "none: training callbacks make links or copies"
    finally:
        os.close(descriptor)
        file.close()


def _of_level(level: str) -> str:
    return {
        "full": "",
        "batch": ", many small files are synced at once",
        "none": ", nothing is synced: a power cut may take what was added last",
    }[level]


def file_system(folder: Path) -> str:
    """Return what the system calls the file system of a folder, such as ``ext4``."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # macOS
        return "unknown"
    real, best, kind = os.path.realpath(folder), "", "unknown"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        where = before.split()[4].encode().decode("unicode_escape")  # a space stands as \\040
        inside = os.path.commonpath([real, where]) == where
        if inside and len(where) >= len(best):
            best, kind = where, after.split()[0]
    return kind


def _short(path: Path) -> str:
    """Return a path from ``~`` where it lies there: nobody's name goes into a report."""
    home = environment.home()
    if home is not None and home in path.parents:
        return f"~/{path.relative_to(home)}"
    return str(path)
