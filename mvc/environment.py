"""The environment: the one module that reads variables, the user's name and git.

Everything else is told. What is read here and why: ``docs/terminal.md``, ``docs/model.md``.
Public names: ``registry_folder``, ``store_folder``, ``cache_folder``,
``users_cache``, ``cache_size``, ``durability``, ``settings_folder``, ``forget_registry``,
``offline``, ``author``, ``code_state``, ``hold_code_state``, ``upward``, ``home``, ``colours``,
``progress``, ``pager``, ``of_pager``, ``shell``, ``umask``, ``debug``, ``completion``,
``anyone_may_write``, ``full_path``, ``host``, ``in_git``, ``keep_memory``, ``boot``,
``owner_of``.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from mvc.errors import UsageError

GIT_SECONDS = 5
USUAL_PAGER = "less"

KEPT = 256 << 20
"""Bytes that this process keeps for its next buffers rather than give back."""

_ARENAS_AT_MOST, _TRIM_ABOVE, _MAP_ABOVE = -8, -1, -3
"""``M_ARENA_MAX``, ``M_TRIM_THRESHOLD`` and ``M_MMAP_THRESHOLD`` of glibc's malloc.h."""

_code_held: list[dict[str, str | bool] | None] = []

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kMGT]?)B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def registry_folder() -> Path | None:
    """Return ``MVC_DIR``: the registry to use, whatever lies above the working folder."""
    return _path("MVC_DIR")


def store_folder() -> Path | None:
    """Return ``MVC_STORE``: where to look first for a registry's store."""
    return _path("MVC_STORE")


def cache_folder() -> Path | None:
    """Return ``MVC_CACHE``: where disposable files go instead of ``.mvc/cache``."""
    return _path("MVC_CACHE")


def users_cache() -> Path | None:
    """Return the folder for what this user may lose: ``XDG_CACHE_HOME``, or ``~/.cache``."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # the standard has others ignored
        return Path(named, "mvc")
    folder = home()
    return folder / ".cache" / "mvc" if folder else None


def cache_size() -> int | None:
    """Return ``MVC_CACHE_SIZE`` in bytes: how much the files of ``mvc path`` may take.

    Raises:
        UsageError: It is no size, such as ``200GB``.
    """
    text = os.environ.get("MVC_CACHE_SIZE", "").strip()
    if not text:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"MVC_CACHE_SIZE is '{text[:40]}'", hint="a size is written as in 200GB")
    return int(float(match.group(1)) * _UNITS[match.group(2).lower()])


def durability(levels: Sequence[str]) -> str:
    """Return ``MVC_DURABILITY``: which of ``levels`` to keep to; the first unless set.

    Raises:
        UsageError: It is none of them.
    """
    level = os.environ.get("MVC_DURABILITY", "") or levels[0]
    if level not in levels:
        known = f"{', '.join(levels[:-1])} or {levels[-1]}"
        raise UsageError(f"MVC_DURABILITY is '{level[:40]}'", hint=f"it is {known}")
    return level


def settings_folder() -> Path | None:
    """Return where a user's own settings are: ``XDG_CONFIG_HOME/mvc``, else ``~/.config/mvc``."""
    named = _path("XDG_CONFIG_HOME")
    own = home()
    if named is None and own is None:
        return None
    return (named or Path(own or "/", ".config")) / "mvc"


def forget_registry() -> None:
    """Let no variable lead this process to a registry: the demo keeps to its own folder."""
    for name in ("MVC_DIR", "MVC_STORE", "MVC_CACHE"):
        os.environ.pop(name, None)


def home() -> Path | None:
    """Return the user's home, by which paths are shown shorter."""
    try:
        return Path.home()
    except RuntimeError:  # a user id without a home, as in containers
        return None


def colours() -> bool:
    """Say whether a terminal may be given colours: no ``NO_COLOR``, and it is not a dumb one."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shell() -> str:
    """Return the name of the shell that ``SHELL`` says is the user's."""
    return os.path.basename(os.environ.get("SHELL", ""))


def umask() -> int:
    """Return which rights new files of this process lack."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def progress() -> bool:
    """Return whether progress is shown: ``MVC_PROGRESS`` is not ``0``."""
    return os.environ.get("MVC_PROGRESS", "") != "0"


def pager() -> list[str]:
    """Return the command of a pager: ``MVC_PAGER``, else ``PAGER``, else less; empty for none."""
    import shlex

    text = os.environ.get("MVC_PAGER", os.environ.get("PAGER", USUAL_PAGER)).strip()
    if text in ("", "cat") or os.environ.get("TERM", "") == "dumb":
        return []
    try:
        return shlex.split(text)
    except ValueError:  # quotes that do not match: there will be no such program
        return [text]


def of_pager() -> dict[str, str]:
    """Return a pager's environment: whatever else ``LESS`` says, colours pass through less."""
    options = os.environ.get("LESS")
    return {**os.environ, "LESS": "FRX" if options is None else f"-R {options}"}


def debug() -> bool:
    """Return ``MVC_DEBUG``: whether an error shows where in the code it came from."""
    return os.environ.get("MVC_DEBUG", "") not in ("", "0")


def offline() -> bool:
    """Return ``MVC_OFFLINE``: whether nothing may be downloaded."""
    return os.environ.get("MVC_OFFLINE", "") not in ("", "0")


def completion() -> str | None:
    """Return ``_MVC_COMPLETE``: what a shell's completion asks for."""
    return os.environ.get("_MVC_COMPLETE") or None


def author() -> str:
    """Return who registers: ``MVC_AUTHOR``, git's ``user.name``, or the login."""
    import getpass

    named = os.environ.get("MVC_AUTHOR", "").strip() or _git(Path.cwd(), "config", "user.name")
    try:
        named = named or getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        named = f"uid-{os.getuid()}"
    # A variable may hold bytes that are not text, which no record can keep.
    return named.encode("utf-8", "backslashreplace").decode("utf-8")


def owner_of(path: Path) -> str:
    """Return the login of whose a file is, or the number of a user without one."""
    number = os.lstat(path).st_uid
    try:
        import pwd

        return pwd.getpwuid(number).pw_name
    except (ImportError, KeyError):
        return f"uid-{number}"


def code_state(folder: Path) -> dict[str, str | bool] | None:
    """Return the git commit of the code in ``folder`` and whether it was changed since."""
    if _code_held:
        return _code_held[-1]
    if not in_git(folder):
        return None
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"git": commit, "dirty": changed != ""}


def hold_code_state(folder: Path) -> None:
    """Let ``code_state`` say from now on what it says now: a run does not see later commits."""
    _code_held.append(code_state(folder))


def host() -> str:
    """Return this host's name, as far as it may stand in a file's name."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", os.uname().nodename)[:64]


def in_git(folder: Path) -> bool:
    """Say whether ``folder`` lies in a git work tree."""
    return any((above / ".git").exists() for above in upward(folder))


def upward(folder: Path) -> Iterator[Path]:
    """Yield ``folder`` and those above it."""
    folder = folder.absolute()
    yield folder
    yield from folder.parents


def anyone_may_write(folder: Path) -> bool:
    """Say whether other users could have put something into ``folder``."""
    return bool(folder.stat().st_mode & stat.S_IWOTH)


def full_path(path: Path) -> Path:
    """Return a path from the root, with ``~`` for the user's home understood."""
    return path.expanduser().absolute()


def keep_memory() -> None:
    """Let this process use its buffers over and over, before it makes many of a few MiB.

    To touch new pages costs as much as to hash what is put there. glibc gives
    large buffers back at once unless told otherwise; where another library
    allocates, nothing is changed. numpy is told to start no threads for
    linear algebra, which nothing here does, and loads in half the time.
    """
    import ctypes

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with contextlib.suppress(AttributeError, OSError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_ARENAS_AT_MOST, 1)
        set_option(_TRIM_ABOVE, KEPT)
        set_option(_MAP_ABOVE, 32 << 20)


@cache
def boot() -> str:
    """Return what names this run of the machine, until it is started anew; empty on macOS."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _path(name: str) -> Path | None:
    value = os.environ.get(name, "")
    return full_path(Path(value)) if value else None


def _git(folder: Path, *arguments: str) -> str | None:
    import subprocess  # 5 ms that only writing needs

    # Nothing of a foreign repository is to run here: neither its fsmonitor, nor the hook
    # that follows a rewritten index; and nobody's index is to be locked by a look at it.
    safe = ["--no-optional-locks", "-c", "core.fsmonitor=false"]
    command = ["git", *safe, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
