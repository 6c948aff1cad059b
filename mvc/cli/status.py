"""``mvc status``.

Public names: ``status``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mvc.cli import command, output

if TYPE_CHECKING:
    from mvc.registry.status import FileState, Status


GAP = "   "


@command.command(
    "status",
    usage="[OPTIONS]",
    examples=[
        ("mvc status", "this folder and those below"),
        ("mvc -C models status --json", "another folder, for a script"),
    ],
    statuses={4: "no registry here or above"},
)
@command.as_json
def status(as_json: bool) -> None:
    """Compare the files here with the registry.

    Says where the registry and its store are and what they take, and for
    each model file in this folder and below which version it is, whether that
    was withdrawn or the file changed since, or that it is new: no version that
    can be had back has its bytes. What is new stands last. Files that did not
    change since mvc last saw them are not read again.
    """
    found = command.open_registry().status(Path())
    if as_json:
        output.json_result(_json(found))
        return
    output.table(_head(found), gap=GAP)
    if found.files:
        output.table(_files(found.files), gap=GAP)


def _json(found: Status) -> output.Json:
    return {
        "registry": str(found.registry),
        "store": None if found.store is None else str(found.store),
        "families": found.families,
        "versions": found.versions,
        "plain": found.plain,
        "stored": found.stored,
        "free": found.free,
        "files": [
            {
                "path": str(file.path),
                "state": file.state,
                "version": file.version,
                "size": file.size,
            }
            for file in found.files
        ],
    }


def _head(found: Status) -> list[tuple[str, str]]:
    families = output.count(found.families, "family", "families")
    versions = output.count(found.versions, "version")
    takes = "not there"
    if found.store is not None and found.stored is not None:
        part = f" ({found.stored / found.plain:.2f} of plain copies)" if found.plain else ""
        takes = f"{output.size(found.stored)}{part}, {output.size(found.free)} free"
    store = "?" if found.store is None else output.home_path(found.store)
    return [
        (f"registry  {output.home_path(found.registry)}", f"{families}, {versions}"),
        (f"store     {store}", takes),
    ]


def _files(files: Sequence[FileState]) -> list[tuple[str, str, str]]:
    rows = []
    for file in files:
        if file.state == "registered":
            rows.append((f"  {file.version}", str(file.path), ""))
        elif file.state == "withdrawn":
            rows.append((f"  {file.version}", str(file.path), "withdrawn"))
        elif file.state == "changed":
            rows.append(("  changed", str(file.path), f"was {file.version}"))
        else:
            rows.append(("  new", str(file.path), output.size(file.size)))
    return rows
