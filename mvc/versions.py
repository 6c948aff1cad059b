"""Versions: of mvc, of Python, and of the libraries that are installed.

Public names: ``NEEDED``, ``OPTIONAL``, ``needed``, ``library``, ``header``.
"""

from __future__ import annotations

import platform
import sys

NEEDED = tuple("backports.zstd blake3 click fastcdc filelock numpy PyYAML rich xxhash".split())
"""What mvc does not work without; from Python 3.14 on zstd comes with that."""
OPTIONAL = tuple("torch torchvision safetensors lightning transformers huggingface_hub".split())
"""What single methods need, or callbacks are for."""


def needed() -> tuple[str, ...]:
    """Return what mvc does not work without, with this Python."""
    return tuple(name for name in NEEDED if name != "backports.zstd" or sys.version_info < (3, 14))


def library(name: str) -> str | None:
    """Return the version of a library, ``None`` where it is not installed."""
    from importlib import metadata  # 10 ms that few commands need

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def header() -> str:
    """Return what whoever mends mvc asks first: in one line, and nothing of the user's."""
    from mvc import __version__

    found = {name: library(name) for name in (*NEEDED, *OPTIONAL)}
    libraries = " ".join(f"{name} {version}" for name, version in found.items() if version)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"mvc {__version__}, {python}, {system}, {sys.byteorder}-endian; {libraries}"
