"""What ``mvc show --tensors`` prints.

Public names: ``tensor_table``, ``as_json``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mvc.cli import output, tables
from mvc.cli.tables import Column, Value

if TYPE_CHECKING:
    from mvc.registry.tensors import TensorFacts, TensorTable

# So many of the columns for people say something of a file that is not in the store.
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
    people = _columns(several)
    counted, stored = output.count(len(table.tensors), "tensor"), table.stored
    total = {"TENSOR": counted, "PLAIN": output.size(table.plain), "STORED": output.size(stored)}
    if stored is None:  # of a file that is in no store
        people = people[:UNSTORED]
    tables.show(table.tensors, people, PROGRAMS, total=total)


def _stored(tensor: TensorFacts) -> str:
    if tensor.stored is None:
        return "missing"
    return ("~" if tensor.gathered else "") + output.size(tensor.stored)


def _columns(several: bool) -> tuple[Column[TensorFacts], ...]:
    return (
        Column(
            "TENSOR",
            lambda tensor: f"{tensor.file}:{tensor.name}" if several else tensor.name,
            style="yellow",
            elastic=40,
            cut=tables.the_end,
        ),
        Column("DTYPE", lambda tensor: tensor.dtype, rank=2),
        Column("SHAPE", lambda tensor: "×".join(map(str, tensor.shape)) or "scalar", rank=1),
        Column("PLAIN", lambda tensor: output.size(tensor.plain), right=True),
        Column("STORED", _stored, right=True),
        Column(
            "DEPTH",
            lambda tensor: "" if tensor.depth is None else str(tensor.depth),
            right=True,
            rank=4,
        ),
        Column("ENCODING", lambda tensor: ", ".join(tensor.encodings), rank=3),
    )


PROGRAMS: dict[str, Callable[[TensorFacts], Value]] = {
    "file": lambda tensor: tensor.file,
    "tensor": lambda tensor: tensor.name,
    "dtype": lambda tensor: tensor.dtype,
    "shape": lambda tensor: [str(size) for size in tensor.shape],
    "plain": lambda tensor: tensor.plain,
    "stored": lambda tensor: tensor.stored,
    "depth": lambda tensor: tensor.depth,
    "encodings": lambda tensor: tensor.encodings,
    "gathered": lambda tensor: tensor.gathered,
}
