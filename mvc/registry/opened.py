"""Opened: a version whose tensors are read from the store when they are asked for.

What it promises: ``docs/loading.md``.
Public names: ``Opened``, ``Slice``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import prod
from numbers import Integral
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mvc.errors import NotFound, UsageError
from mvc.formats.dtypes import width_of
from mvc.formats.numbers import as_array
from mvc.formats.safetensors import DTYPES, PREFIX_SIZE, matches
from mvc.registry import tensors
from mvc.registry.names import near
from mvc.registry.tensors import StoredTensor
from mvc.store import Store
from mvc.tree import TreeFile

if TYPE_CHECKING:
    from mvc.formats.numbers import Array

_WRITTEN = {word: code for code, word in DTYPES.items()}


class Opened:
    """The tensors of a version, with the methods of safetensors' ``safe_open``.

    It may be used as a context manager. Nothing has to be closed.
    """

    def __init__(self, what: str, files: Iterable[TreeFile], store: Store) -> None:
        self._what = what
        self._files = tuple(files)
        self._store = store
        self._tensors = tensors.readable_by_name(store, self._files)

    def __enter__(self) -> Opened:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held."""

    def __repr__(self) -> str:
        return f"<{self._what}: {len(self._tensors)} tensors>"

    def keys(self) -> list[str]:
        """Return the names of the tensors, sorted."""
        return sorted(self._tensors)

    def offset_keys(self) -> list[str]:
        """Return the names of the tensors, as they lie in the files one after the other."""
        numbers = {file.path: number for number, file in enumerate(self._files)}
        headers = {file.path: self._header(file) for file in self._files}

        def place(name: str) -> tuple[int, int]:
            one = self._tensors[name]
            entry = headers[one.file].get(one.entry.name)
            return numbers[one.file], entry["data_offsets"][0] if entry else 0

        return sorted(self._tensors, key=place)

    def metadata(self) -> dict[str, str] | None:
        """Return the text that a single safetensors file has about itself; else ``None``."""
        found = self._header(self._files[0]).get("__metadata__") if len(self._files) == 1 else None
        return found if isinstance(found, dict) else None

    def _header(self, file: TreeFile) -> dict[str, Any]:
        """Return the header of a safetensors file; of another there is none."""
        head, size = b"", 0
        for piece in self._store.pieces(file.digest, hashed=True):
            head += piece
            size = int.from_bytes(head[:PREFIX_SIZE], "little")
            if not matches(head):
                return {}
            if len(head) >= PREFIX_SIZE + size:
                break
        try:
            header = json.loads(head[PREFIX_SIZE : PREFIX_SIZE + size])
        except (ValueError, RecursionError):
            return {}
        return header if isinstance(header, dict) else {}

    def get_tensor(self, name: str) -> Array:
        """Read one tensor, as an array of its own.

        Raises:
            NotFound: There is none of this name.
            UsageError: Its elements are no numbers that numpy has.
            Damaged: A part of it is missing or damaged.
        """
        array: Array = self.get_slice(name)[...]
        return array

    def get_tensors(self) -> dict[str, Array]:
        """Read all tensors, as they lie in the files.

        Raises:
            UsageError: The elements of one are no numbers that numpy has.
            Damaged: A part of one is missing or damaged.
        """
        return {name: self.get_tensor(name) for name in self.offset_keys()}

    def get_slice(self, name: str) -> Slice:
        """Return one tensor to be read in part, by indexing.

        Raises:
            NotFound: There is none of this name.
        """
        tensor = self._tensors.get(name)
        if tensor is None:
            hint = near(name, self._tensors) or f"mvc show {self._what} --tensors shows all"
            raise NotFound(f"no tensor '{name}' in {self._what}", hint=hint)
        return Slice(name, tensor)


class Slice:
    """A tensor that is read by indexing, as an array is."""

    def __init__(self, name: str, tensor: StoredTensor) -> None:
        self._name = name
        self._tensor = tensor

    def get_shape(self) -> list[int]:
        return list(self._tensor.entry.shape)

    def get_dtype(self) -> str:
        """Return the type as safetensors writes it, ``F32`` or ``BF16``; else mvc's word for it."""
        return _WRITTEN.get(self._tensor.entry.dtype, self._tensor.entry.dtype)

    def __getitem__(self, index: Any) -> Any:
        """Read what ``index`` asks for: of integers and slices no more than the rows it lies in.

        Raises:
            IndexError: It is out of bounds.
            UsageError: Its elements are no numbers that numpy has.
            Damaged: A part of it is missing or damaged.
        """
        entry = self._tensor.entry
        indices: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
        rows = self._rows(indices[0]) if indices else None
        if rows is None:
            return self._array(0, entry.size, entry.shape)[indices]
        first, last = rows
        step = prod(entry.shape[1:]) * width_of(entry.dtype)
        some = self._array(first * step, last * step, (last - first, *entry.shape[1:]))
        own = slice(None, None, indices[0].step) if isinstance(indices[0], slice) else 0
        within: tuple[Any, ...] = (own, *indices[1:])
        return some[within]

    def _rows(self, index: Any) -> tuple[int, int] | None:
        """Return the first row to read and the one after the last; ``None``: simply all."""
        entry = self._tensor.entry
        if not entry.shape or entry.stride is not None or not width_of(entry.dtype):
            return None
        if not isinstance(index, slice):
            if isinstance(index, bool) or not isinstance(index, Integral):
                return None
            row = range(entry.shape[0])[index]
            return row, row + 1
        first, last, step = index.indices(entry.shape[0])
        return (first, max(first, last)) if step > 0 else None

    def _array(self, start: int, stop: int, shape: tuple[int, ...]) -> Array:
        entry = self._tensor.entry
        data = b"".join(self._tensor.read(start, stop))
        array = as_array(data, entry.dtype, shape, entry.stride)
        if array is None:
            raise UsageError(
                f"'{self._name}' is of type {entry.dtype}, which numpy does not have",
                hint="mvc checkout writes the file, for a library that knows the type",
            )
        return array
