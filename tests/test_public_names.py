"""What ``import mvc`` offers, held still."""

from __future__ import annotations

import subprocess
import sys

import mvc

PUBLIC = [
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
METHODS = [
    "add",
    "best",
    "checkout",
    "delete_tag",
    "describe",
    "describe_tensors",
    "diff",
    "doctor",
    "du",
    "families",
    "family",
    "files",
    "forget_registry",
    "fsck",
    "fsck_size",
    "gc",
    "get",
    "history",
    "import_",
    "init",
    "keep",
    "list",
    "load",
    "log",
    "move_store",
    "open",
    "path",
    "plan_forget_registry",
    "plan_move_store",
    "register",
    "related",
    "relink_store",
    "repack",
    "resolve",
    "restore",
    "rm",
    "rollback",
    "save",
    "search",
    "show",
    "status",
    "store_alternates",
    "store_info",
    "tag",
    "tensors",
]


def test_the_package_offers_these_names() -> None:
    """A name is added to or taken from the package on purpose, never by accident."""
    assert sorted(mvc.__all__) == PUBLIC
    assert all(hasattr(mvc, name) for name in PUBLIC)


def test_the_registry_offers_these_methods() -> None:
    """Every command has a method of its name, and a method is added on purpose."""
    methods = [
        name
        for name in dir(mvc.ModelRegistry)
        if callable(getattr(mvc.ModelRegistry, name)) and not name.startswith("_")
    ]
    assert sorted(methods) == METHODS


def test_errors_are_what_their_docstring_says() -> None:
    """Each error can be caught as the built-in class that fits it, and bears its exit status."""
    assert issubclass(mvc.NotFound, LookupError)
    assert issubclass(mvc.UsageError, ValueError)
    assert issubclass(mvc.FormatError, mvc.Damaged)
    statuses = {error.__name__: error.status for error in mvc.MvcError.__subclasses__()}
    assert statuses == {
        "UsageError": 2,
        "Refused": 1,
        "Damaged": 3,
        "NotFound": 4,
        "StoreMissing": 4,
        "Conflict": 5,
        "Busy": 6,
        "RemoteFailed": 7,
        "SystemFailed": 8,
        "Unsupported": 8,
    }


def test_importing_the_package_imports_nothing_heavy() -> None:
    """``import mvc`` costs no library that only some calls need."""
    heavy = ["numpy", "backports.zstd", "torch", "rich", "fastcdc", "yaml", "safetensors"]
    program = f"import sys, mvc; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
