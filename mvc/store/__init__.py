"""The store: immutable bytes under their digest, shared by any number of registries.

Public names: ``Store`` (what it promises stands on the class), ``Transaction``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvc.store.store import Store
    from mvc.store.transaction import Transaction

__all__ = ["Store", "Transaction"]


def __getattr__(name: str) -> Any:
    """Import either when it is first asked for: who only reads records needs no store."""
    if name == "Store":
        from mvc.store.store import Store

        return Store
    if name == "Transaction":
        from mvc.store.transaction import Transaction

        return Transaction
    raise AttributeError(f"module 'mvc.store' has no attribute '{name}'")
