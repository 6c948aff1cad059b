"""What ``mvc show --tensors`` prints.

Public names: ``tensor_table``, ``as_json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvc.cli import output

if TYPE_CHECKING:
    from mvc.registry.tensors import TensorFacts, TensorTable

HEAD = ("TENSOR", "DTYPE", "SHAPE", "PLAIN", "STORED", "DEPTH", "ENCODING")
# So many of the columns say something of a file that is not in the store.
UNSTORED = 4


def as_json(table: TensorTable) -> list[output.Json]:
    """Return the array that ``--json`` gives under ``tensors``."""
    return [
        {
            "file": tensor.file,
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "plain": tensor.plain,
            "stored": tensor.stored,
            "encodings": list(tensor.encodings),
            "depth": tensor.depth,
            "gathered": tensor.gathered,
        }
        for tensor in table.tensors
    ]


def tensor_table(table: TensorTable, *, several: bool) -> None:
    """Print a line for each tensor and a total.

    Args:
        several: Whether each name is to be preceded by that of its file.
    """
    if not table.tensors:
        output.note("no tensors are known of it")
        return
    rows = [
        (
            f"{tensor.file}:{tensor.name}" if several else tensor.name,
            tensor.dtype,
            "×".join(map(str, tensor.shape)) or "scalar",
            output.size(tensor.plain),
            _stored(tensor),
            "" if tensor.depth is None else str(tensor.depth),
            ", ".join(tensor.encodings),
        )
        for tensor in table.tensors
    ]
    counted, stored = output.count(len(rows), "tensor"), table.stored
    total = (counted, "", "", output.size(table.plain), output.size(stored), "", "")
    width = UNSTORED if stored is None else len(HEAD)
    output.table([row[:width] for row in (HEAD, *rows, total)], right=[3, 4, 5])


def _stored(tensor: TensorFacts) -> str:
    if tensor.stored is None:
        return "missing"
    return ("~" if tensor.gathered else "") + output.size(tensor.stored)
