"""The one check that every layout passes before anybody sees it.

Format modules are free to trust the files they read; what they return is
believed only after this. It raises ``FormatError``, and the file is then
opaque.

Public names: ``validated``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import count, pairwise

from mvc.errors import FormatError
from mvc.formats.dtypes import MAX_DIMENSIONS, bits_of, is_row_major, span_of
from mvc.formats.layout import Layout, Storage, Tensor

WIDTHS = frozenset({0, 1, 2, 4, 8, 16})
LARGEST = 2**63


def validated(layout: Layout, size: int) -> Layout:
    """Return ``layout`` with unique names, if it is true to its promises.

    A name that is not UTF-8 (a lone surrogate) has it written out as ``\\udXXX``;
    a name that was already given to another tensor gets ``#2``, ``#3``, …, in
    the order of the file.

    Raises:
        FormatError: a storage is empty, out of order, overlaps, leaves the file
            of ``size`` bytes, or has an odd width; or a tensor leaves its
            storage, or its type, shape, stride and size do not fit together.
    """
    _check_storages(layout.storages, size)
    for tensor in layout.tensors:
        _check_tensor(tensor, layout.storages)
    return replace(layout, tensors=tuple(_named_apart(layout.tensors)))


def _check_storages(storages: tuple[Storage, ...], size: int) -> None:
    for storage in storages:
        if storage.size <= 0 or storage.offset < 0 or storage.offset + storage.size > size:
            raise FormatError(f"{storage} in a file of {size} bytes")
        if storage.width not in WIDTHS or (storage.width and storage.size % storage.width):
            raise FormatError(f"{storage} does not hold whole elements")
    for before, after in pairwise(storages):
        if before.offset + before.size > after.offset:
            raise FormatError(f"{before} and {after} overlap or are out of order")


def _check_tensor(tensor: Tensor, storages: tuple[Storage, ...]) -> None:
    what = f"tensor {tensor.name[:80]!r}"
    if len(tensor.shape) > MAX_DIMENSIONS:
        raise FormatError(f"{what} has {len(tensor.shape)} dimensions")
    if not all(0 <= length < LARGEST for length in (*tensor.shape, *(tensor.stride or ()))):
        raise FormatError(f"{what} has a length or stride that is negative or huge")
    if tensor.stride is not None:
        if len(tensor.stride) != len(tensor.shape):
            raise FormatError(f"{what} has strides for other dimensions than it has")
        if is_row_major(tensor.shape, tensor.stride):
            raise FormatError(f"{what} is row-major and yet has strides")
    if 0 in tensor.shape:
        if (tensor.storage, tensor.offset, tensor.size) != (None, 0, 0):
            raise FormatError(f"{what} has no elements and yet {tensor.size} bytes")
        return
    bits = bits_of(tensor.dtype)
    if bits is not None and span_of(tensor.shape, tensor.stride) * bits != tensor.size * 8:
        raise FormatError(f"{what} of {tensor.dtype} {tensor.shape} has {tensor.size} bytes")
    if tensor.storage is None or not 0 <= tensor.storage < len(storages):
        raise FormatError(f"{what} is in no storage")
    room = storages[tensor.storage].size
    if tensor.offset < 0 or tensor.size <= 0 or tensor.offset + tensor.size > room:
        raise FormatError(f"{what} leaves its storage of {room} bytes")


def _named_apart(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
    """Give every tensor a name of its own; the first to have a name keeps it."""
    given = [tensor.name.encode("utf-8", "backslashreplace").decode() for tensor in tensors]
    originals, used, last = set(given), set[str](), dict[str, int]()
    for tensor, name in zip(tensors, given, strict=True):
        unique = name
        if name in used:
            for number in count(last.get(name, 1) + 1):
                unique = f"{name}#{number}"
                if unique not in used and unique not in originals:
                    last[name] = number
                    break
        used.add(unique)
        yield tensor if unique == tensor.name else replace(tensor, name=unique)
