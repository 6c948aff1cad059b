"""Weights that torchvision publishes: ``torchvision:resnet18``, or ``…@IMAGENET1K_V1``.

Public names: ``bring``, ``family_of``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mvc.errors import FormatError, UsageError
from mvc.registry.imports.address import family_in, parse
from mvc.registry.imports.cached import sha256_of
from mvc.registry.imports.download import download
from mvc.registry.imports.sources import Brought, Wish
from mvc.registry.imports.transfer import Wanted
from mvc.registry.imports.web import checked_sha256, imported, refuse_choices


def bring(wish: Wish) -> Brought:
    """Take the file from where torch.hub keeps it, from the cache, or download it."""
    from mvc.frameworks.torchvision_weights import published

    refuse_choices(wish)
    model, weights = _named(wish.source)
    found = published(model, weights)
    wanted = checked_sha256(wish.sha256)
    if wanted is None and found.sha256:
        wanted = Wanted(found.sha256, "which does not begin as its name says, with")
    source = f"torchvision:{model}@{found.weights}"
    facts: dict[str, Any] = {
        "metrics": found.metrics,
        "params": {name: value for name, value in found.params.items() if value is not None},
        "architecture": model,
        "framework": "pytorch",
    }
    address = parse(found.url)
    if digest := _kept(found.kept, wanted):
        said = {"source": source, "url": address.shown, "sha256": digest}
        return Brought(found.kept, said, facts)
    done = download(address, wish.cache, wanted=wanted, offline=wish.offline, restore=wish.restore)
    said = {"source": source, **imported(address, done.cached)}
    return Brought(done.cached.path, said, facts, done.received)


def family_of(source: str) -> str:
    """Return the model's name."""
    return family_in(_named(source)[0])


def _named(source: str) -> tuple[str, str | None]:
    model, at, weights = source.partition(":")[2].partition("@")
    if not model or (at and not weights):
        raise UsageError(f"which model is '{source[:80]}'?", hint="as in torchvision:resnet18")
    return model, weights or None


def _kept(path: Path, wanted: Wanted | None) -> str | None:
    """Return the digest of the file that torch.hub has, if it is the one that is wanted."""
    if wanted is None:
        return None
    try:
        _, digest = sha256_of(path)
    except (OSError, FormatError):
        return None
    return digest if digest.startswith(wanted.sha256) else None
