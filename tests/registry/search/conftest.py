"""What the tests of the registry stand on serves here as well."""

from __future__ import annotations

from tests.registry.conftest import author, project

__all__ = ["author", "project"]
