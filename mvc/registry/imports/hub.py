"""A repository of the Hugging Face Hub: ``hf:org/name``, or ``hf:org/name@revision``.

``huggingface_hub`` downloads into its own cache, and the snapshot there is read
in place. Which of its files are taken is settled here, and each is compared
with the digest that its blob is named by, which the library does not do.

Public names: ``bring``, ``family_of``.
"""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from mvc import fileio, progress
from mvc.errors import MvcError, MvcWarning, NotFound, RemoteFailed, UsageError, warn
from mvc.registry.imports import hub_client
from mvc.registry.imports.address import family_in, without_login
from mvc.registry.imports.hub_client import Unreachable, in_words, silent_bar
from mvc.registry.imports.sources import Brought, Wish
from mvc.registry.selection import Selection

# The same weights for other frameworks, left out where .safetensors lie beside them.
TWINS = (
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.bin",
    "diffusion_pytorch_model*.bin",
    "tf_model*.h5",
    "flax_model*.msgpack",
    "rust_model.ot",
)
# Smaller files are downloaded several at once, in threads that Ctrl-C has to wait for.
LARGE = 1 << 20
BLOCK = 1 << 20
SPACE_BESIDE = 1 << 20
MAX_CONFIG = 1 << 20
_GIT_SHA1, _SHA256 = re.compile(r"[0-9a-f]{40}\Z"), re.compile(r"[0-9a-f]{64}\Z")


def bring(wish: Wish) -> Brought:
    """Have a snapshot in the library's cache, and say which of its files are meant.

    Warns:
        MvcWarning: The hub could not be asked, and what is cached is taken; or
            nobody can tell whether what is cached is all.
    """
    repository, revision = _named(wish)
    if wish.sha256 is not None:
        raise UsageError(
            "--sha256 is the digest of one file, and a repository has several",
            hint="--revision COMMIT names one state of all its files",
        )
    library = hub_client.library()
    selection = Selection(wish.include, wish.exclude)
    offline = wish.offline or library.constants.is_offline_mode()
    info = None if offline else _asked(library, repository, revision)
    if info is None:
        folder, names = _cached(library, repository, revision)
        received = 0
    else:
        folder, names, received = _downloaded(library, repository, revision, info, selection)
    chosen, left_out = _chosen(names, selection)
    _check(folder, chosen, repository)
    return Brought(
        path=folder,
        imported={
            "source": f"hf:{repository}" + (f"@{revision}" if revision else ""),
            "url": f"{without_login(library.constants.ENDPOINT)}/{repository}/tree/{folder.name}",
            "revision": folder.name,
        },
        facts={**_of_config(folder), **_globs(folder, chosen)},
        received=received,
        notes=_notes(left_out),
    )


def family_of(source: str) -> str:
    """Return the name of the repository, without that of its owner."""
    return family_in(source.partition(":")[2].partition("@")[0].rpartition("/")[2])


def _named(wish: Wish) -> tuple[str, str | None]:
    repository, at, revision = wish.source.partition(":")[2].partition("@")
    repository = repository.strip("/")
    if not repository or (at and not revision):
        raise UsageError(f"which repository is '{wish.source[:80]}'?", hint="as in hf:org/name")
    if revision and wish.revision and revision != wish.revision:
        raise UsageError(
            f"revision '{revision}' or '{wish.revision}'?", hint="give @REVISION or --revision"
        )
    return repository, wish.revision or revision or None


def _asked(library: Any, repository: str, revision: str | None) -> Any | None:
    """Return what the hub says of a repository; ``None`` if it cannot, and a snapshot is cached."""
    try:
        with in_words(library, repository, revision):
            return library.HfApi().repo_info(repository, revision=revision, files_metadata=True)
    except Unreachable as failure:
        try:
            _snapshot(library, repository, revision)
        except NotFound:
            raise failure from None
        text = f"{failure.message}: what is cached of 'hf:{repository}' is taken"
        warn(text, MvcWarning)
        return None


def _downloaded(
    library: Any, repository: str, revision: str | None, info: Any, selection: Selection
) -> tuple[Path, list[str], int]:
    """Bring what is missing into the cache; return the snapshot, its files and what came."""
    with in_words(library, repository, revision):
        files = {file.rfilename: file for file in info.siblings or ()}
        chosen, _ = _chosen(list(files), selection)
        _refuse_none(chosen, repository)
        blobs = Path(library.constants.HF_HUB_CACHE, _folder_of(repository), "blobs")
        sizes = {name: files[name].size or 0 for name in chosen}
        wanted = {_blob_of(files[name]): sizes[name] for name in chosen}
        size = sum(size for blob, size in wanted.items() if not (blobs / blob).exists())
        _check_space(library, repository, size)
        small = [name for name in chosen if sizes[name] <= max(LARGE, min(sizes.values()))]
        with progress.job(f"downloading hf:{repository}", size):
            bar = silent_bar(library)
            folder = library.snapshot_download(
                repository,
                revision=revision,
                allow_patterns=[glob.escape(name) for name in small],
                tqdm_class=bar,
            )
            for name in chosen:
                if name not in small:
                    library.hf_hub_download(
                        repository, name, revision=Path(folder).name, tqdm_class=bar
                    )
    return Path(folder), list(files), size


def _folder_of(repository: str) -> str:
    """Return what the library calls the folder of a repository."""
    return f"models--{repository.replace('/', '--')}"


def _blob_of(file: Any) -> str:
    """Return the digest by which the library calls the bytes of a file."""
    return str(file.lfs.sha256 if file.lfs else file.blob_id)


def _check_space(library: Any, repository: str, size: int) -> None:
    folder = Path(library.constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    free = fileio.free_space(folder)
    if size and size + SPACE_BESIDE > free:
        raise MvcError(
            f"'hf:{repository}' needs {size:,} bytes more and 1 MiB beside, only {free:,} are "
            f"free in '{folder}'",
            hint="free some space, or set HF_HOME to a folder on another disk",
        )


def _snapshot(library: Any, repository: str, revision: str | None) -> Path:
    """Return the snapshot that is cached, whole or not."""
    with in_words(library, repository, revision, offline=True):
        return Path(
            library.snapshot_download(
                repository, revision=revision, local_files_only=True, allow_patterns=[]
            )
        )


def _cached(library: Any, repository: str, revision: str | None) -> tuple[Path, list[str]]:
    """Return the snapshot that is cached, and the files that it should have."""
    folder = _snapshot(library, repository, revision)
    try:
        tree = library.get_cached_repo_tree(repository, revision=folder.name)
        return folder, [file.path for file in tree]
    except library.errors.CachedRepoTreeNotFoundError:
        warn(
            f"'hf:{repository}' is not cached as a whole, so nobody can tell whether it has all "
            "files: what is there is taken",
            MvcWarning,
        )
        return folder, _files(folder)


def _files(folder: Path) -> list[str]:
    return [
        Path(above, name).relative_to(folder).as_posix()
        for above, _, names in os.walk(folder)
        for name in names
    ]


def _chosen(names: list[str], selection: Selection) -> tuple[list[str], list[str]]:
    """Return the files that are meant, and those whose weights others of them have.

    Who names files with ``--include`` gets all those.
    """
    asked = list(filter(selection.takes, names))
    safe = {os.path.dirname(name) for name in asked if name.endswith(".safetensors")}
    twins = [
        name
        for name in asked
        if not selection.include
        and os.path.dirname(name) in safe
        and any(fnmatch.fnmatchcase(os.path.basename(name), glob) for glob in TWINS)
    ]
    return [name for name in asked if name not in twins], twins


def _globs(folder: Path, chosen: list[str]) -> dict[str, tuple[str, ...]]:
    """Return globs that mean the chosen files of a snapshot and no others.

    A glob without a folder means a name at any depth, so what it would take
    besides is excluded by its whole path.
    """
    others = set(_files(folder)) - set(chosen)
    return {
        "include": tuple(map(glob.escape, chosen)),
        "exclude": tuple(glob.escape(name) for name in sorted(others) if "/" in name),
    }


def _check(folder: Path, chosen: list[str], repository: str) -> None:
    """Compare each file with the digest that its blob is named by.

    Raises:
        NotFound: One is not cached, or none is meant.
        RemoteFailed: One is not what it was.
    """
    _refuse_none(chosen, repository)
    missing = [name for name in chosen if not (folder / name).is_file()]
    if missing:
        raise NotFound(
            f"of 'hf:{repository}' {len(missing)} of {len(chosen)} files are not cached, the first "
            f"'{missing[0]}'",
            hint="do it once without --offline and MVC_OFFLINE, where there is a network",
        )
    size = sum((folder / name).stat().st_size for name in chosen)
    with progress.job(f"comparing hf:{repository}", size):
        for name in chosen:
            _compare(folder / name)


def _refuse_none(chosen: list[str], repository: str) -> None:
    if not chosen:
        raise NotFound(
            f"'hf:{repository}' has no such files", hint="--include and --exclude choose others"
        )


def _compare(path: Path) -> None:
    if not path.is_symlink():  # where there are no links, nothing says what it should be
        return
    blob = path.resolve()
    if _SHA256.match(blob.name):
        digest = hashlib.sha256()
    elif _GIT_SHA1.match(blob.name):
        digest = hashlib.sha1(b"blob %d\0" % blob.stat().st_size, usedforsecurity=False)
    else:
        return
    with open(blob, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            progress.advance(len(block))
    if digest.hexdigest() != blob.name:
        raise RemoteFailed(
            f"'{path.name}' is damaged in the cache of huggingface_hub: '{blob}'",
            hint="delete that file, then run this again",
        )


def _of_config(folder: Path) -> dict[str, str]:
    """Return the architecture that a ``config.json`` names."""
    try:
        path = (folder / "config.json").resolve()
        config = json.loads(fileio.read(path, MAX_CONFIG))
        name = config["architectures"][0]
    except (OSError, MvcError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    return {"architecture": name} if isinstance(name, str) and name.isprintable() else {}


def _notes(left_out: list[str]) -> tuple[str, ...]:
    if not left_out:
        return ()
    more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    return (
        f"left out '{left_out[0]}'{more}: the .safetensors beside hold the same weights; "
        "--include '*' takes all",
    )
