"""Faults: calls that a test may see, fail or die in, and registries to do it to.

``Calls`` stands between Python and the system for every call that changes a
folder; ``killed_after_steps`` and ``killed_before_calls`` end a forked child
on the spot, so that no cleanup of its own runs; ``whole`` says what must be
true of a registry whatever happened to it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import json
import os
import random
import resource
import shutil
import signal
import struct
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any
from unittest import mock

from mvc import ModelRegistry, MvcError, fileio, system
from mvc.fileio import Steps, T
from mvc.registry import family, reach
from mvc.registry.care.findings import Report
from mvc.registry.care.rooted import needs_of, roots
from mvc.registry.location import place
from mvc.store.mark import Census, reachable

COMMIT_POINT = "version linked"
CHANGING = ("open", "writev", "fchmod", "fsync", "close", "mkdir", "link", "rename", "unlink")

_KILLED, _FINISHED, _FAILED = 70, 71, 72


@dataclass(frozen=True, slots=True)
class Call:
    """One call below the watched folder; ``target`` is the second path, ``flags`` those of open."""

    name: str
    path: str
    target: str | None = None
    descriptor: int = -1
    flags: int = 0
    data: bytes = b""

    @property
    def changes(self) -> bool:
        """Whether a death before this call and one after it leave different folders."""
        return self.name != "close" and (self.name != "open" or bool(self.flags & os.O_CREAT))


def nothing(call: Call) -> None:
    """Watch and do nothing."""


class Calls:
    """While entered, hands each call below ``folder`` to ``before``, and to ``after`` if it worked.

    ``before`` may raise instead of letting the call happen. What fails a
    close has closed all the same, as the system has it. Nothing is synced in
    truth: what a power cut leaves is worked out from the calls. Of several
    threads one calls at a time, or a number that is closed in one and opened
    in another would be handed on in the wrong order.
    """

    def __init__(
        self,
        folder: Path,
        before: Callable[[Call], None] = nothing,
        after: Callable[[Call], None] = nothing,
    ) -> None:
        self._folder = os.fspath(folder)
        self._before, self._after = before, after
        self._paths: dict[int, str] = {}
        self._flags: dict[int, int] = {}
        self._real: dict[str, Any] = {name: getattr(os, name) for name in (*CHANGING, "rmdir")}
        self._real_rename_once = system.rename_once
        self._patches = contextlib.ExitStack()
        self._turn = threading.RLock()

    def __enter__(self) -> Calls:
        for name in self._real:
            self._patch(os, name, getattr(self, f"_{name}"))
        self._patch(system, "sync_file_system", self._syncfs)
        self._patch(system, "rename_once", self._rename_once)
        return self

    def _patch(self, module: ModuleType, name: str, instead: Callable[..., Any]) -> None:
        def one_at_a_time(*arguments: Any, **named: Any) -> Any:
            with self._turn:
                return instead(*arguments, **named)

        self._patches.enter_context(mock.patch.object(module, name, one_at_a_time))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._patches.close()

    def _do(self, call: Call, *arguments: Any, **named: Any) -> Any:
        self._before(call)
        result = self._real[call.name](*arguments, **named)
        self._after(call)
        return result

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = self._at(path, dir_fd)
        if where is None:
            return int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        call = Call("open", where, flags=flags)
        self._before(call)
        descriptor = int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        self._paths[descriptor], self._flags[descriptor] = where, flags
        self._after(Call("open", where, descriptor=descriptor, flags=flags))
        return descriptor

    def _writev(self, descriptor: int, pieces: Sequence[Any]) -> int:
        where = self._paths.get(descriptor)
        if where is None:
            return int(self._real["writev"](descriptor, pieces))
        data = b"".join(pieces)
        return int(self._do(Call("writev", where, None, descriptor, 0, data), descriptor, pieces))

    def _fchmod(self, descriptor: int, mode: int) -> None:
        where = self._paths.get(descriptor)
        if where is None:
            self._real["fchmod"](descriptor, mode)
        else:
            self._do(Call("fchmod", where, None, descriptor), descriptor, mode)

    def _fsync(self, descriptor: int) -> None:
        self._synced("fsync", descriptor)

    def _syncfs(self, descriptor: int) -> None:
        self._synced("syncfs", descriptor)

    def _synced(self, name: str, descriptor: int) -> None:
        where = self._paths.get(descriptor)
        if where is not None:
            call = Call(name, where, None, descriptor)
            self._before(call)
            self._after(call)

    def _close(self, descriptor: int) -> None:
        where = self._paths.pop(descriptor, None)
        if where is None:
            self._real["close"](descriptor)
            return
        call = Call("close", where, None, descriptor, self._flags.pop(descriptor))
        try:
            self._before(call)
        finally:
            self._real["close"](descriptor)
        self._after(call)

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self._named("mkdir", self._at(path, dir_fd), path, mode, dir_fd=dir_fd)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._named("unlink", self._at(path, dir_fd), path, dir_fd=dir_fd)

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._named("rmdir", self._at(path, dir_fd), path, dir_fd=dir_fd)

    def _link(self, source: Any, target: Any, **named: Any) -> None:
        self._between("link", source, target, **named)

    def _rename(self, source: Any, target: Any, **named: Any) -> None:
        self._between("rename", source, target, **named)

    def _rename_once(self, source: Any, target: Any, **named: Any) -> bool | None:
        where = self._at(source, named.get("source_folder"))
        if where is None:
            return self._real_rename_once(source, target, **named)
        goal = self._at(target, named.get("target_folder")) or os.fspath(target)
        call = Call("rename", where, goal)
        self._before(call)
        renamed = self._real_rename_once(source, target, **named)
        if renamed:
            self._after(call)
        return renamed

    def _named(self, name: str, where: str | None, *arguments: Any, **named: Any) -> None:
        if where is None:
            self._real[name](*arguments, **named)
        else:
            self._do(Call(name, where), *arguments, **named)

    def _between(self, name: str, source: Any, target: Any, **named: Any) -> None:
        where = self._at(source, named.get("src_dir_fd"))
        if where is None:
            self._real[name](source, target, **named)
        else:
            goal = self._at(target, named.get("dst_dir_fd")) or os.fspath(target)
            self._do(Call(name, where, goal), source, target, **named)

    def _at(self, path: Any, dir_fd: int | None) -> str | None:
        """Return the whole path if it is below the watched folder."""
        if isinstance(path, int):
            return None
        folder = os.getcwd() if dir_fd is None else self._paths.get(dir_fd)
        where = os.path.join(folder or "", os.fsdecode(path))
        inside = where == self._folder or where.startswith(self._folder + os.sep)
        return where if inside else None


class FailingCall:
    """Fails the ``place``-th call, once or from then on; ``failed`` is the first that did.

    Reading fails too, and so does closing what was written to.
    """

    def __init__(self, place: int, code: int, *, for_ever: bool) -> None:
        self.place, self.code, self.for_ever = place, code, for_ever
        self.failed: Call | None = None
        self.syncs_after_failure: list[Call] = []
        self._count = itertools.count(1)
        self._lost: int | None = None

    def __call__(self, call: Call) -> None:
        if self._lost is not None and call.descriptor == self._lost:
            if call.name == "fsync":
                self.syncs_after_failure.append(call)
            if call.name == "close":  # the number may be another file's from here on
                self._lost = None
        if call.name == "close" and not call.flags & os.O_RDWR:
            return  # nothing is on its way that a close could lose
        number = next(self._count)
        if number == self.place or (self.for_ever and number > self.place):
            if self.failed is None:
                self.failed = call
                self._lost = call.descriptor if call.name == "fsync" else None
            raise OSError(self.code, os.strerror(self.code), call.path, None, call.target)


@dataclass(slots=True)
class Death:
    """How a child ended: the steps or calls it had done, and whether it came through alive."""

    done: list[str] = field(default_factory=list)
    finished: bool = False

    def __str__(self) -> str:
        last = self.done[-1] if self.done else "nothing"
        return f"after {len(self.done)} ({last})"


def killed_after_steps(
    project: Project, work: Callable[[Path], object]
) -> Iterator[tuple[Project, Death]]:
    """Do ``work`` in forked children, the k-th of which dies after its k-th step.

    Each works on a copy of the project of its own, which is yielded. All
    protocols are carried through by ``fileio.run``, which is what counts. The
    last child has finished.
    """
    return _killed(project, work, lambda folder, do, k: _dying_after_step(do, k))


def killed_before_calls(
    project: Project, work: Callable[[Path], object]
) -> Iterator[tuple[Project, Death]]:
    """Like ``killed_after_steps``, but the k-th child dies before its k-th call in the project."""
    return _killed(project, work, _dying_before_call)


def _killed(
    project: Project,
    work: Callable[[Path], object],
    dying: Callable[[Path, Callable[[], object], int], Callable[[int], None]],
) -> Iterator[tuple[Project, Death]]:
    for count in itertools.count():
        copy = project.copied(f"killed-{count}")
        folder = copy.folder
        death = _in_child(dying(folder, functools.partial(work, folder), count))
        yield copy, death
        shutil.rmtree(folder)
        if death.finished:
            return


def _dying_after_step(work: Callable[[], object], count: int) -> Callable[[int], None]:
    def die(report: int) -> None:
        left = count

        def run(steps: Steps[T]) -> T:
            nonlocal left
            while True:
                if left == 0:
                    os._exit(_KILLED)
                try:
                    step = next(steps)
                except StopIteration as end:
                    result: T = end.value
                    return result
                left -= 1
                os.write(report, f"{step}\n".encode())

        with mock.patch.object(fileio, "run", run):
            work()

    return die


def _dying_before_call(
    folder: Path, work: Callable[[], object], count: int
) -> Callable[[int], None]:
    def die(report: int) -> None:
        left = count

        def before(call: Call) -> None:
            nonlocal left
            if not call.changes:
                return
            if left == 0:
                os._exit(_KILLED)
            left -= 1
            os.write(report, f"{call.name} {os.path.basename(call.path)}\n".encode())

        with Calls(folder, before):
            work()

    return die


def _in_child(work: Callable[[int], None]) -> Death:
    """Run ``work`` in a forked child with a descriptor to report to; the child never returns."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():  # numpy's idle threads are nothing to a child that dies
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        status = _FAILED
        try:
            os.close(reading)
            work(writing)
            status = _FINISHED
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, encoding="utf-8") as report:
        done = report.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (_KILLED, _FINISHED), f"the child ended with {status} after {done}"
    return Death(done, status == _FINISHED)


def run_to_end(*steps: Steps[Any], schedule: Sequence[int]) -> list[Any]:
    """Carry several protocols through, a step of one at a time, as ``schedule`` names them.

    Whoever is not through when the schedule ends is carried through in order.

    Returns:
        What each returned, or the exception it raised.
    """
    results: list[Any] = [None] * len(steps)
    alive = set(range(len(steps)))
    rest = [number for number in range(len(steps)) for _ in range(1000)]
    for number in itertools.chain(schedule, rest):
        if number not in alive:
            continue
        try:
            next(steps[number])
        except StopIteration as end:
            results[number] = end.value
            alive.discard(number)
        except Exception as error:
            results[number] = error
            alive.discard(number)
    return results


def make_weights(path: Path, seed: int = 0, elements: int = 60_000) -> bytes:
    """Write a safetensors file with one dense and one small tensor; return its bytes."""
    source = random.Random(seed)
    dense = b"".join(struct.pack("<f", source.gauss(0, 0.02)) for _ in range(1000))
    dense = (dense * (elements // 1000 + 1))[: 4 * elements]
    small = source.randbytes(256)
    table = {
        "dense": {"dtype": "F32", "shape": [elements], "data_offsets": [0, 4 * elements]},
        "small": {"dtype": "F32", "shape": [64], "data_offsets": [len(dense), len(dense) + 256]},
    }
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    data = struct.pack("<Q", len(header)) + header + dense + small
    path.write_bytes(data)
    return data


def make_noise(path: Path, seed: int = 0, size: int = 3000) -> bytes:
    """Write a file that is nothing but itself; return its bytes."""
    data = random.Random(f"noise {seed}").randbytes(size)
    path.write_bytes(data)
    return data


@dataclass(slots=True)
class Project:
    """A registry, with what it must hold: bytes by version id, versions by tag."""

    folder: Path
    held: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def open(self) -> ModelRegistry:
        """Open the registry as a new process would."""
        return ModelRegistry(self.folder)

    def add(self, name: str, path: Path, **facts: Any) -> str:
        """Add a file and remember that this was acknowledged."""
        identity = self.open().add(name, path, **facts).id
        self.held[identity] = path.read_bytes()
        return identity

    def moved_to(self, folder: Path) -> Project:
        """Return what the same registry must hold when found elsewhere."""
        return Project(folder, dict(self.held), dict(self.tags))

    def copied(self, name: str) -> Project:
        """Copy the project beside itself, as if it had been there from the start."""
        folder = self.folder.with_name(name)
        shutil.copytree(self.folder, folder)
        copy = self.moved_to(folder)
        if (folder / ".mvc" / "config.yaml").exists():
            copy.keep_identity()
        return copy

    def keep_identity(self) -> None:
        """Let the registry, whose files were made anew, not take itself for a copy."""
        folder = self.folder / ".mvc"
        place.change(folder, inode=place.inode_of(folder))


def bytes_of(registry: ModelRegistry, identity: str) -> bytes:
    """Return the bytes of a version, withdrawn or not, straight from the store."""
    family, _, number = identity.partition("/v")
    record, _ = registry.manifest.record(family, int(number))
    return bytes(registry.presence.store.get(record.artifact.digest))


def records_of(registry: ModelRegistry) -> dict[str, bytes]:
    """Return every record by the id under which it is listed."""
    manifest = registry.manifest
    return {
        f"{family}/v{number}": manifest.record_bytes(family, number)
        for family in manifest.families()
        for number in manifest.numbers(family)
    }


def full_check(registry: ModelRegistry) -> Report:
    """Check everything, every byte."""
    return registry.fsck("full")


def whole(project: Project) -> ModelRegistry:
    """Assert that a registry is whole and holds all it must; return it, opened anew.

    Listed are versions only, each that was not released reads back, so does whatever has a
    root, and nothing needs repair.
    """
    registry = project.open()
    report = full_check(registry)
    assert report.ok, report.findings
    for identity, data in project.held.items():
        assert bytes_of(registry, identity) == data, identity
    for tag, identity in project.tags.items():
        assert registry.resolve(tag).id == identity
    manifest = registry.manifest
    for name in manifest.families():
        gone = reach.released(manifest, family.load(manifest, name))
        for number in set(manifest.numbers(name)) - gone:
            bytes_of(registry, f"{name}/v{number}")
    store = registry.presence.if_there()
    if store is not None:
        reachable(Census.of(store), needs_of(roots(store)))
    return registry


def confined(work: Callable[[], object], *, memory: int = 600 << 20, seconds: int = 20) -> str:
    """Run ``work`` in a forked child that may take so much more memory and time, no more.

    Returns:
        What it returned, as text; or its ``MvcError``, as class and message.
        Anything else that it raises, and a child that is killed, is a failure.
    """

    def limited(report: int) -> None:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + memory, size + memory))
        signal.alarm(seconds)
        warnings.simplefilter("ignore")
        try:
            text = str(work())
        except MvcError as error:
            text = f"{type(error).__name__}: {error.message}"
        with contextlib.suppress(OSError):
            os.write(report, json.dumps(text).encode() + b"\n")

    result = _in_child(limited).done
    return str(json.loads(result[0]))


ERRORS = {name: getattr(errno, name) for name in ("EIO", "ENOSPC", "EDQUOT", "EMFILE")}
