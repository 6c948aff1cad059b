"""mvc: git for model weights.

``ModelRegistry`` registers model files as versions of families, and hands
each back bit for bit. The command line is ``mvc``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mvc.errors import (
    Busy,
    Conflict,
    Damaged,
    FormatError,
    ModelWarning,
    MvcError,
    MvcWarning,
    NotFound,
    Refused,
    RemoteFailed,
    StoreMissing,
    StoreWarning,
    SystemFailed,
    UnreadWarning,
    Unsupported,
    UsageError,
)

if TYPE_CHECKING:
    from mvc.registry import ModelRegistry, Version

__version__ = "0.1.0"

__all__ = [
    "Busy",
    "Conflict",
    "Damaged",
    "FormatError",
    "ModelRegistry",
    "ModelWarning",
    "MvcError",
    "MvcWarning",
    "NotFound",
    "Refused",
    "RemoteFailed",
    "StoreMissing",
    "StoreWarning",
    "SystemFailed",
    "UnreadWarning",
    "Unsupported",
    "UsageError",
    "Version",
    "__version__",
]


def __dir__() -> list[str]:
    """List what there is, also what is not imported yet, for those who complete names."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import the registry when it is first asked for: ``mvc --help`` does without."""
    if name in ("ModelRegistry", "Version"):
        from mvc import registry

        return getattr(registry, name)
    raise AttributeError(f"module 'mvc' has no attribute '{name}'")
