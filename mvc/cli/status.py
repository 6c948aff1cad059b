"""``mvc status``.

Public names: ``status``.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mvc.cli import command, output

if TYPE_CHECKING:
    from mvc.registry.folder_status import FolderState
    from mvc.registry.status import FileState, Status


GAP = "   "
# So many files of a folder that changed in one way are named.
NAMED = 3


@command.command(
    "status",
    usage="[OPTIONS]",
    examples=[
        ("mvc status", "this folder and those below"),
        ("mvc -C models status --json", "another folder, for a script"),
    ],
    statuses={3: command.PARTLY, 4: "no registry here or above"},
    partial=True,
)
@command.as_json
def status(as_json: bool) -> None:
    """Compare the files here with the registry.

    Says where the registry and its store are and what they take, and for
    each model file in this folder and below which version it is, whether that
    was withdrawn or the file changed since, or that it is new: no version that
    can be had back has its bytes. What is new stands last. Files that did not
    change since mvc last saw them are not read again. A model file is one that
    was added, or has a name such as net.pt or net.pth.tar: see docs/looking.md.

    A folder that was added or checked out is one line, which names the files
    in it that changed since, are missing, or are new. A note names what a
    checkout that was killed has left.
    """
    found = command.open_registry().status(Path())
    if as_json:
        output.json_result(_json(found))
        return
    output.table(_head(found), gap=GAP)
    if rows := _rows(found):
        output.table(rows, gap=GAP)
    if left := found.leftovers:
        paths = " ".join(shlex.quote(str(path)) for path in left[:NAMED])
        more = f", and {len(left) - NAMED:,} more" if len(left) > NAMED else ""
        output.note(f"left by a command that was killed, of no use: rm -r {paths}{more}")


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
                "folder": None if file.folder is None else str(file.folder),
            }
            for file in found.files
        ],
        "folders": [
            {
                "path": str(folder.path),
                "state": folder.state,
                "version": folder.version,
                "changed": list(folder.changed),
                "missing": list(folder.missing),
                "new": list(folder.new),
            }
            for folder in found.folders
        ],
        "leftovers": [str(path) for path in found.leftovers],
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


def _rows(found: Status) -> list[tuple[str, str, str]]:
    from mvc.registry.folder_status import FolderState
    from mvc.registry.status import rank

    shown: list[FileState | FolderState] = [*found.folders]
    shown += (file for file in found.files if file.folder is None or file.state == "new")
    shown.sort(key=rank)
    return [_folder(item) if isinstance(item, FolderState) else _file(item) for item in shown]


def _file(file: FileState) -> tuple[str, str, str]:
    if file.state == "registered":
        return f"  {file.version}", str(file.path), ""
    if file.state == "withdrawn":
        return f"  {file.version}", str(file.path), "withdrawn"
    if file.state == "changed":
        return "  changed", str(file.path), f"was {file.version}"
    return "  new", str(file.path), output.size(file.size)


def _folder(folder: FolderState) -> tuple[str, str, str]:
    path = os.path.join(folder.path, "")
    kinds = {"changed": folder.changed, "missing": folder.missing, "new": folder.new}
    named = (f"{output.first(paths, NAMED)} {kind}" for kind, paths in kinds.items() if paths)
    files = "; ".join(named)
    if folder.state == "registered":
        return f"  {folder.version}", path, files
    if folder.state == "withdrawn":
        return f"  {folder.version}", path, ": ".join(filter(None, ["withdrawn", files]))
    if folder.state == "changed":
        return "  changed", path, f"was {folder.version}: {files}"
    return "  new", path, f"was {folder.version}, whose bytes the store does not hold"
