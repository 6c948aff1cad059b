"""strace: the real process killed at a system call of its own.

A call is named by (name, k): strace counts per name, so a sweep takes its
pairs from a recorded run. ``signal=KILL`` strikes before the call takes
effect. Nothing is injected under ``--seccomp-bpf``: signals get lost there.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# Not open: what it made is seen by who dies in the call after it.
CALLS = (
    "mkdir mkdirat link linkat symlinkat rename renameat renameat2 "
    "unlink unlinkat rmdir fsync fdatasync syncfs writev pwrite64 fchmod ftruncate"
).split()
SECONDS = 120

_RESULT = re.compile(r" = (\d+)$")
_WORKING = re.compile(r'AT_FDCWD<[^>]*>, "/')
_LINE = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<rest>.*)")


@dataclass(frozen=True, slots=True)
class Point:
    """The k-th call of a name in a thread; ``text`` is its line in the trace."""

    name: str
    k: int
    text: str

    @property
    def result(self) -> int | None:
        """What the call returned, if it stands on the same line of the trace."""
        found = _RESULT.search(self.text)
        return int(found[1]) if found else None

    @property
    def is_of_a_name(self) -> bool:
        """Whether it gives a name or takes one."""
        return self.name.startswith(("link", "rename", "unlink", "rmdir"))

    def __str__(self) -> str:
        return f"{self.name} number {self.k}"


def why_not() -> str | None:
    """Say why processes cannot be traced here, ``None`` if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = subprocess.run(
        ["strace", "-f", "-qq", "-o", os.devnull, "-e", "inject=getpid:signal=0", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in probe.stderr.lower() or "not permitted" in probe.stderr:
        return "processes may not be traced here"
    return None


def record(
    arguments: Sequence[str], folder: Path, trace: Path, *, also: Sequence[str] = ()
) -> list[Point]:
    """Run ``mvc`` in ``folder``; return the calls by which it changes the folder, in order.

    Args:
        also: Calls that change nothing and are given, too, if they are about the folder.
    """
    done = _strace(_traced(trace, also), arguments, folder)
    assert done.returncode == 0, done.stderr
    counts: Counter[tuple[str, str]] = Counter()
    points: dict[tuple[str, int], Point] = {}
    for line in trace.read_text(errors="replace").splitlines():
        if found := _LINE.match(line):
            name, thread = found["name"], found["thread"]
            counts[thread, name] += 1  # as strace does: each thread has counts of its own
            k = counts[thread, name]
            if _is_about(found["rest"], folder):
                points.setdefault((name, k), Point(name, k, line))
    return list(points.values())


def middle(points: Sequence[Point]) -> int:
    """Return where among the calls the commit point is, else one that gives or takes a name."""
    names = [n for n, point in enumerate(points) if point.is_of_a_name]
    commits = [n for n in names if committed(points[n].text)]
    return (commits or names)[len(commits or names) // 2]


def kill_at(point: Point, arguments: Sequence[str], folder: Path) -> str | None:
    """Run ``mvc`` in ``folder`` and kill it as it enters the call.

    Returns:
        The trace up to there; ``None`` if this run came through without such
        a call, as it may: what is fresh is looked at more often.
    """
    done, trace = inject(point, f"signal=KILL:when={point.k}", arguments, folder)
    if done.returncode == 0:
        return None
    assert done.returncode == -signal.SIGKILL, (point, done.returncode, done.stderr)
    return trace


def inject(
    point: Point, what: str, arguments: Sequence[str], folder: Path, *, also: Sequence[str] = ()
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run ``mvc`` in ``folder`` and do ``what`` to calls like that of the point; return the trace.

    Where something other than a signal was done, its line says ``(INJECTED)``.
    """
    trace = folder.with_suffix(".trace")
    options = [*_traced(trace, also), "-e", f"inject={point.name}:{what}"]
    done = _strace(options, arguments, folder)
    return done, trace.read_text(errors="replace")


def struck(trace: str, folder: Path) -> bool:
    """Say whether the first call in which something was done was about the folder."""
    lines = (_LINE.match(line) for line in trace.splitlines() if "(INJECTED)" in line)
    first = next(filter(None, lines), None)
    return first is not None and _is_about(first["rest"], folder)


def committed(trace: str) -> bool:
    """Say whether a record or an event had been given its name."""
    return any("/manifest/" in line and line.endswith(" = 0") for line in _links(trace))


def _links(trace: str) -> Iterator[str]:
    return (line for line in trace.splitlines() if re.match(r"\d+ +link", line))


def _strace(
    options: list[str], arguments: Sequence[str], folder: Path
) -> subprocess.CompletedProcess[str]:
    # -B: no cache of compiled modules, whose writing would be counted as well.
    command = [sys.executable, "-B", "-m", "mvc", "-C", os.fspath(folder), *arguments]
    return subprocess.run(
        ["strace", "-f", "-qq", *options, "--", *command],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def _traced(trace: Path, also: Sequence[str]) -> list[str]:
    # A question mark lets strace pass over what this system does not have.
    calls = ",".join(f"?{name}" for name in (*CALLS, *also))
    return ["-y", "-o", os.fspath(trace), "-e", f"trace={calls}"]


def _is_about(rest: str, folder: Path) -> bool:
    """Say whether a call is about the folder; strace tells where open ones and the working one are.

    The working folder says nothing of an absolute path.
    """
    return os.fspath(folder) in _WORKING.sub('"/', rest)
