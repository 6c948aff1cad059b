"""A file system without hard links: every link is refused, in this process or in one of its own."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path


def without_links(*_: object, **__: object) -> None:
    """Stand for ``os.link`` where FAT, some FUSE or some shares are below."""
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def traced(
    folder: Path, *arguments: object, renames: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command line whose links the kernel refuses, and without ``renames`` those, too."""
    refused = ["inject=link,linkat:error=EPERM"]
    if not renames:
        refused.append("inject=renameat2:error=EINVAL")
    options = [word for rule in refused for word in ("-e", rule)]
    return subprocess.run(
        ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=link,linkat,renameat2", *options,
         sys.executable, "-m", "mvc", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
