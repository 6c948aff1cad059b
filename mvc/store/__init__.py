"""The store: immutable bytes under their digest, shared by any number of registries.

Public names: ``Store`` (what it promises stands on the class), ``Transaction``.
"""

from mvc.store.store import Store
from mvc.store.transaction import Transaction

__all__ = ["Store", "Transaction"]
