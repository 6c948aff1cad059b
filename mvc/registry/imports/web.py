"""A file behind a URL.

Public names: ``bring``, ``family_of``, ``checked_sha256``.
"""

from __future__ import annotations

import re

from mvc.errors import UsageError
from mvc.registry.imports.address import Address, family_in, parse, without_login
from mvc.registry.imports.cached import Cached
from mvc.registry.imports.download import download
from mvc.registry.imports.sources import Brought, Wish
from mvc.registry.imports.transfer import Wanted

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def bring(wish: Wish) -> Brought:
    """Download the file of a URL, or take it from the cache."""
    refuse_choices(wish)
    address = parse(wish.source)
    done = download(
        address,
        wish.cache,
        wanted=checked_sha256(wish.sha256),
        offline=wish.offline,
        restore=wish.restore,
    )
    cached = done.cached
    return Brought(
        path=cached.path,
        imported=imported(address, cached),
        received=done.received,
    )


def family_of(source: str) -> str:
    """Return the family that the name of the file suggests."""
    return family_in(parse(source).name)


def refuse_choices(wish: Wish) -> None:
    """Refuse what only a repository can be asked for."""
    for name, value in (("--revision", wish.revision), ("--include", wish.include),
                        ("--exclude", wish.exclude)):  # fmt: skip
        if value:
            raise UsageError(
                f"{name} chooses from a repository, and '{without_login(wish.source)}' is one file",
                hint=f"leave {name} out",
            )


def checked_sha256(text: str | None) -> Wanted | None:
    """Understand the digest that a user demands."""
    if text is None:
        return None
    digest = text.strip().lower().removeprefix("sha256:")
    if not _SHA256.match(digest):
        raise UsageError(f"'{text[:80]}' is no SHA-256", hint="sha256sum FILE prints its 64 digits")
    return Wanted(digest, "not, as is asked for,")


def imported(address: Address, cached: Cached) -> dict[str, str]:
    """Return what lineage keeps of a download."""
    said = {
        "url": address.shown,
        "etag": cached.note.etag,
        "last_modified": cached.note.last_modified,
        "sha256": cached.sha256,
        "downloaded": cached.note.downloaded,
    }
    return {name: value for name, value in said.items() if value is not None}
