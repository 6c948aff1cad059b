"""The one place that imports torch, torchvision and safetensors.

They are heavy (a second and 200 MB) and optional, so nothing imports them at
the top of a module. ``available`` answers without importing anything.

Public names: ``available``, ``import_torch``, ``import_torchvision``, ``import_safetensors``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

from mvc.errors import Unsupported

NEEDED = ("torch", "torchvision", "safetensors")

# The two operators that torchvision describes to torch on import, whether its compiled
# library is there or not; signatures from torchvision/csrc/ops/nms.cpp.
_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_MISSING = "operator torchvision::nms does not exist"

# torch forgets a definition when the library object that made it goes away.
_definitions: list[Any] = []


def available() -> bool:
    """Say whether everything in the extra ``torch`` is installed, importing nothing."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDED)


def import_torch() -> ModuleType:
    """Import torch; without it, ``Unsupported`` says what to install."""
    return _import("torch")


def import_safetensors() -> ModuleType:
    """Import ``safetensors.torch``; without it, ``Unsupported`` says what to install."""
    import_torch()
    return _import("safetensors.torch")


def import_torchvision() -> ModuleType:
    """Import torchvision, also where its compiled operators do not load.

    Beside a CPU-only build of torch that library fails to load. torchvision
    takes that in its stride until it describes ``nms`` and ``qnms`` to torch,
    which do not exist then, and its import stops. The networks use neither, so
    in that case, and only then, the two are defined without an implementation
    and the import is run again from the start; calling one still fails.

    Raises:
        Unsupported: torch or torchvision is not installed.
    """
    torch = import_torch()
    try:
        return _import("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        library.define(operator + _SIGNATURE)
    _definitions.append(library)
    # The failed import leaves those submodules behind that came before the failure.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    return _import("torchvision")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"{error.name or name} is not installed",
            hint="pip install 'mvc-registry[torch]'",
        ) from error
