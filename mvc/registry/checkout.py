"""Checkout: write a version's file where the user wants it, whole or not at all.

The bytes go to a private file beside the target; the whole file's digest
must match before it gets its name. What is in the way is replaced only if it
is a version of this registry, and so can be had again.

Public names: ``checkout``.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from mvc import fileio
from mvc.digest import Digest, Hasher
from mvc.errors import Conflict, Damaged, UsageError
from mvc.registry import resolve, worktree
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.place import Place
from mvc.registry.presence import Presence
from mvc.registry.record import Artifact
from mvc.registry.version import CheckedOut
from mvc.store import Store

_READ_SIZE = 4 << 20


def checkout(
    place: Place,
    manifest: Manifest,
    presence: Presence,
    family: Family,
    number: int,
    output: Path | None,
    force: bool,
) -> CheckedOut:
    """Write a version's file. Raises as ``ModelRegistry.checkout`` says."""
    artifact = manifest.record(family.folder, number)[0].artifact
    identity = f"{family.name}/v{number}"
    target = _target(artifact.name, output)
    standing = _standing_digest(target)
    if standing != artifact.digest:
        if standing is not None and not force and not _is_known(manifest, standing, target):
            raise Conflict(
                f"'{target}' holds something that is no version here",
                hint="move it away, register it with mvc add, or: mvc checkout --force",
            )
        _write(presence.store, artifact, target, replace=standing is not None, version=identity)
    worktree.note(place.cache, target, identity, artifact.digest, os.stat(target))
    version = resolve.version_of(manifest, presence, family, number)
    return CheckedOut(**vars(version), path=target, written=standing != artifact.digest)


def _target(name: str, output: Path | None) -> Path:
    """Return the file to write; its name, if it comes from a record, is one plain component."""
    if output is None or output.is_dir():
        if name in ("", ".", "..") or re.search(r"[/\\\x00]|^\.(git|mvc)", name, re.IGNORECASE):
            raise UsageError(f"{name!r} is no name for a file here", hint="name one: -o PATH")
        return (output or Path()) / name
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder '{output.parent}'", hint="make it first")
    return output


def _standing_digest(target: Path) -> Digest | None:
    """Return the digest of the file at ``target``, ``None`` if nothing is there.

    Raises:
        Conflict: A link, folder or other thing is in the way.
    """
    try:
        status = os.lstat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        raise Conflict(f"'{target}' is a symbolic link", hint="remove it, or name another: -o PATH")
    if not stat.S_ISREG(status.st_mode):
        raise Conflict(f"'{target}' is not a regular file", hint="name another: -o PATH")
    return digest_of_file(target)


def digest_of_file(path: Path) -> Digest:
    """Return the digest of a user's file, read piece by piece."""
    hasher = Hasher()
    with open(path, "rb") as file:
        while data := file.read(_READ_SIZE):
            hasher.update(data)
    return hasher.digest()


def _is_known(manifest: Manifest, digest: Digest, target: Path) -> bool:
    """Say whether the bytes in the way are a version of this registry."""
    return any(True for _ in manifest.versions_of(digest, target.stat().st_size))


def _write(store: Store, artifact: Artifact, target: Path, *, replace: bool, version: str) -> None:
    new = fileio.NewFile(fileio.private_path(target.parent))
    try:
        hasher = Hasher()
        try:
            for piece in store.pieces(artifact.digest):
                hasher.update(piece)
                new.write([piece])
            if hasher.digest() != artifact.digest:
                _name_damage(store, artifact)
        except Damaged as error:
            raise Damaged(
                f"{version} cannot be checked out: {error.message}",
                hint=f"mvc fsck says what is damaged; nothing was written to '{target}'",
            ) from None
        new.sync()
        new.close()
        if not fileio.move_into_place(new.path, target, overwrite=replace):
            raise Conflict(f"'{target}' appeared meanwhile", hint="run the command again")
    except BaseException:
        new.discard()
        raise


def _name_damage(store: Store, artifact: Artifact) -> None:
    """Read again with every object's digest compared, to say which is wrong."""
    for _ in store.pieces(artifact.digest, hashed=True):
        pass
    raise Damaged(f"its parts are whole, but do not make file {artifact.digest.short}")
