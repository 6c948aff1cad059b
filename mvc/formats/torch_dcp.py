"""Files of torch's distributed checkpoints: ``__0_0.distcp`` and the like.

Each is a row of whole ``torch.save`` files, one per tensor or object. They are
found from the end, since only the end of a zip file says how long it is. What
the tensors are called stands in another file, ``.metadata``; here they are
numbered.

Layout, limits and a worked example: ``docs/formats/torch-dcp.md``.
Public names: ``matches``, ``describe``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mvc.errors import FormatError
from mvc.formats import torch_zip
from mvc.formats.layout import Globals, Layout, Source, Storage, Tensor
from mvc.formats.zip_directory import start_of_last

FORMAT = "torch-dcp"
FRAMEWORK = "pytorch"
MAX_ARCHIVES = 1 << 15
MAX_READ = 32 << 20  # of all archives together; one of a tensor takes 2 KiB

matches = torch_zip.matches


@dataclass(slots=True)
class _Counted:
    """The file, of which only so much is read."""

    source: Source
    left: int

    def read(self, offset: int, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise FormatError(f"archives of which more than {MAX_READ} bytes are to be read")
        return self.source.read(offset, size)


@dataclass(frozen=True, slots=True)
class _Window:
    """A part of the file, as a source of its own."""

    file: _Counted
    start: int
    size: int

    @property
    def name(self) -> str:
        return self.file.source.name

    def read(self, offset: int, size: int) -> bytes:
        return self.file.read(self.start + offset, min(size, self.size - offset))


def describe(source: Source) -> Layout:
    """Return the storages and tensors of all archives in the file.

    Raises:
        FormatError: it is not wholly made of two or more zip files of torch,
            each of one tensor or of none.
    """
    file, windows, end = _Counted(source, MAX_READ), list[_Window](), source.size
    while end:
        start = start_of_last(_Window(file, 0, end))
        windows.append(_Window(file, start, end - start))
        end = start
        if len(windows) > MAX_ARCHIVES:
            raise FormatError(f"more than {MAX_ARCHIVES} archives")
    if len(windows) < 2:
        raise FormatError("a single archive")
    return _joined((window.start, torch_zip.describe(window)) for window in reversed(windows))


def _joined(layouts: Iterable[tuple[int, Layout]]) -> Layout:
    """Return one layout of many.

    An archive of several tensors is not torch's, and may be one whose many
    shared nodes take seconds to search: the first such ends it.
    """
    storages: list[Storage] = []
    tensors: list[Tensor] = []
    names, complete = set[str](), True
    for number, (start, layout) in enumerate(layouts):
        if len(layout.tensors) > 1 or (layout.storages and not layout.tensors):
            raise FormatError(f"archive {number} does not hold just one tensor, or an object")
        for tensor in layout.tensors:
            index = None if tensor.storage is None else tensor.storage + len(storages)
            tensors.append(replace(tensor, name=str(number), storage=index))
        storages += [replace(one, offset=one.offset + start) for one in layout.storages]
        if layout.globals is not None:
            names |= layout.globals.names
            complete &= layout.globals.complete
    found = Globals(frozenset(names), complete)
    return Layout(FORMAT, FRAMEWORK, tuple(storages), tuple(tensors), found)
