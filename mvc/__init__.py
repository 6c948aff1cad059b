"""mvc: git for model weights.

``ModelRegistry`` registers model files as versions of families, and hands
each back bit for bit. The command line is ``mvc``.
"""

from mvc.errors import (
    Busy,
    Conflict,
    Damaged,
    FormatError,
    MvcError,
    MvcWarning,
    NotFound,
    StoreWarning,
    Unsupported,
    UsageError,
)
from mvc.registry import ModelRegistry, Version

__version__ = "0.1.0"

__all__ = [
    "Busy",
    "Conflict",
    "Damaged",
    "FormatError",
    "ModelRegistry",
    "MvcError",
    "MvcWarning",
    "NotFound",
    "StoreWarning",
    "Unsupported",
    "UsageError",
    "Version",
    "__version__",
]
