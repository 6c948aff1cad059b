"""The registry: families, versions, tags; what is in the store and why.

Public names: ``ModelRegistry``, ``Version``.
"""

from mvc.registry.registry import ModelRegistry
from mvc.registry.version import Version

__all__ = ["ModelRegistry", "Version"]
