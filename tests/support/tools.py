"""What the fault suites need of a machine beyond Python: ``python -m tests.support.tools``.

It prints what is missing, and so which suites ``make faults`` cannot run
here. Each test looks for itself and is skipped with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from functools import partial
from glob import glob

from tests.support import fault_trace


def _where(name: str) -> str | None:
    # Those that make file systems are not on everybody's PATH.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _program(name: str) -> bool:
    return _where(name) is not None


def _library(name: str) -> bool:
    return bool(find_library(name) or glob(f"/usr/lib/*/lib{name}.so*"))


def _is_root() -> bool:
    return os.geteuid() == 0


def _loop_devices() -> bool:
    if not (_is_root() and _program("losetup")):
        return False
    ask = [_where("losetup") or "", "-f"]
    return subprocess.run(ask, capture_output=True, check=False).returncode == 0


# What, the Debian package that has it, what is for nothing without it, how to find it.
NEEDED: tuple[tuple[str, str, str, Callable[[], bool]], ...] = (
    ("strace", "strace", "kills and failures at real system calls", partial(_program, "strace")),
    ("root", "", "mounts, and other users", _is_root),
    ("loop devices", "", "power cuts on real file systems", _loop_devices),
    ("mkfs.ext4", "e2fsprogs", "power cuts on ext4", partial(_program, "mkfs.ext4")),
    ("mkfs.xfs", "xfsprogs", "power cuts on xfs", partial(_program, "mkfs.xfs")),
    ("mkfs.btrfs", "btrfs-progs", "power cuts on btrfs", partial(_program, "mkfs.btrfs")),
    ("libeatmydata", "eatmydata", "the negative control", partial(_library, "eatmydata")),
    ("faketime", "faketime", "clocks that jump", partial(_program, "faketime")),
    ("gcc", "gcc", "locks made to do nothing", partial(_program, "gcc")),
    ("git", "git", "git beside mvc", partial(_program, "git")),
    ("restic", "restic", "restic beside mvc", partial(_program, "restic")),
)


def report() -> Iterator[str]:
    """Yield a line for each thing that is missing, and what is not run without it."""
    for name, package, purpose, found in NEEDED:
        if not found():
            yield f"missing: {name}{f' (package {package})' * bool(package)}; not run: {purpose}"
    if _program("strace") and (reason := fault_trace.why_not()):
        yield f"missing: {reason}; not run: kills and failures at real system calls"


if __name__ == "__main__":
    print("\n".join(report()) or "everything that the fault suites need is here")
