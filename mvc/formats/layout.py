"""What a format module says about a file: where its tensors lie.

A layout is a hint. It may cost compression when it is wrong, never
correctness: whatever it does not cover is kept as it is, and the whole
file's digest is checked in the end.

Public names: ``Source``, ``Tensor``, ``Storage``, ``Globals``, ``Layout``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Source(Protocol):
    """Random access to the bytes of the file being described."""

    @property
    def name(self) -> str:
        """What the file is called; for messages only, never for telling its format."""
        ...

    @property
    def size(self) -> int:
        """How many bytes the file has."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes at ``offset``; fewer only at the end of the file."""
        ...


@dataclass(frozen=True, slots=True)
class Storage:
    """A range of the file that holds the elements of one or more tensors.

    ``width`` is the size of one element in bytes: 1, 2, 4, 8 or 16; 0 where
    the type is unknown or its elements are not whole bytes. Where it is not 0
    it divides ``size``. Equal data types have equal widths in every format, so
    that equal tensors are cut alike.
    """

    offset: int
    size: int
    width: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor, as the file describes it.

    ``storage`` is the position in ``Layout.storages`` of the storage that
    holds it, ``None`` for a tensor without elements. ``offset`` and ``size``
    are the bytes from its first element to the end of its last, counted from
    the start of that storage. ``stride`` is ``None`` when the elements lie one
    after the other in row-major order; otherwise it is the stride of each
    dimension in elements.

    ``dtype`` is a word of ``mvc.formats.dtypes``.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    storage: int | None
    offset: int
    size: int
    stride: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Globals:
    """What the pickles of a file name: functions and classes, as ``module.name``.

    Other code that a file carries has a name of its own, with a blank in it.
    ``complete`` is false where not everything could be read.
    """

    names: frozenset[str] = frozenset()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """Storages in the order of the file, not overlapping, inside it; and tensors.

    Tensor names are unique. There are no tensors where the file has none, and
    where its description of them is not wholly understood: the table is
    complete or empty, because a digest of weights is taken over it.

    ``globals`` is what loading the file would use; ``None`` for a format that
    holds no code, whatever its bytes. ``elsewhere`` are the other files that hold
    weights of this one, as it names them.
    """

    format: str
    framework: str | None
    storages: tuple[Storage, ...]
    tensors: tuple[Tensor, ...]
    globals: Globals | None = None
    elsewhere: frozenset[str] = frozenset()

    def start_of(self, tensor: Tensor) -> int:
        """Return where in the file the first element of one of the tensors lies."""
        within = 0 if tensor.storage is None else self.storages[tensor.storage].offset
        return within + tensor.offset
