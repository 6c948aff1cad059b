"""``mvc diff``.

Public names: ``diff``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvc.cli import command, output, tables
from mvc.cli.show import is_file
from mvc.cli.tables import Column

if TYPE_CHECKING:
    from mvc.registry.diff import Difference, FactChange, FileChange, TensorChange
    from mvc.registry.location.place import AnyPath

# How many tensors are shown unless more are asked for.
MOST_TENSORS = 50
ARROW = " → "


@command.command(
    "diff",
    usage="REF|FILE REF|FILE [OPTIONS]",
    examples=[
        ("mvc diff resnet18@v1 resnet18@v2", "files, metrics, tensors"),
        ("mvc diff resnet18@best ./model.pt --stat", "how much each tensor changed"),
        ("mvc diff net@prod net --tensors 'fc.*'", "some tensors only"),
    ],
    statuses={
        1: "with --exit-code: they differ",
        3: "what has to be read is damaged or missing",
        4: "no such version, file or tensor",
    },
    paged=True,
)
@click.argument("a", metavar="REF|FILE")
@click.argument("b", metavar="REF|FILE")
@click.option("--stat", is_flag=True, help="Say how much changed tensors changed; reads them.")
@click.option("--tensors", metavar="GLOB", help="Compare only tensors of these names.")
@click.option("--all", "everything", is_flag=True, help="Show all tensors that differ.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if they differ.")
@command.as_json
def diff(
    a: str,
    b: str,
    stat: bool,
    tensors: str | None,
    everything: bool,
    exit_code: bool,
    as_json: bool,
) -> int:
    """Say how two versions differ.

    Their files, the metrics, parameters and lineage that differ, and each
    tensor that only one of them has, that has another shape or type, or that
    changed. Tensors are compared by name and content, whatever file they lie
    in; what did not change between versions is known without reading it.

    What begins with / or . is a file or folder, registered or not, and so is
    what is there and names no family. With --stat, for tensors of one shape:
    the share of elements that differ, the largest and mean difference, its
    norm relative to the first, and the cosine between both.
    """
    sides = _side(a), _side(b)
    stored = any(isinstance(side, str) for side in sides)
    registry = command.open_registry() if stored else command.registry_or_none()
    found = registry.diff(*sides, pattern=tensors, statistics=stat)
    if as_json:
        output.json_result(found.as_dict())
    else:
        _tell(found, stat, everything)
    return 1 if exit_code and not found.same else 0


def _side(text: str) -> AnyPath:
    return Path(text) if is_file(text) else text


def _tell(found: Difference, stat: bool, everything: bool) -> None:
    output.result(f"{found.a}{ARROW}{found.b}")
    output.facts([(file.change, _file(file)) for file in found.files])
    for group in dict.fromkeys(fact.group for fact in found.facts):
        told = "\n".join(_fact(fact) for fact in found.facts if fact.group == group)
        output.facts([(group, told)])
    if found.tensors:
        shown = found.tensors if everything else found.tensors[:MOST_TENSORS]
        tables.show(shown, TENSORS + STATISTICS * stat, None)
        if len(shown) < len(found.tensors):
            more = output.count(len(found.tensors) - len(shown), "other tensor")
            output.note(f"{more} differ; --all shows all")
    if found.equal:
        what = "tensor is" if found.equal == 1 else "tensors are"
        output.result(f"{found.equal:,} {what} equal")
    elif found.same:
        output.result("they do not differ")


def _file(file: FileChange) -> str:
    names = ARROW.join(dict.fromkeys(name for name in (file.a, file.b) if name))
    sizes = [output.size(size) for size in (file.size_a, file.size_b) if size is not None]
    return f"{names}  {ARROW.join(dict.fromkeys(sizes))}"


def _fact(fact: FactChange) -> str:
    name = f"{fact.name}  " if fact.name else ""
    text = f"{name}{_value(fact.a)}{ARROW}{_value(fact.b)}"
    if all(type(value) in (int, float) for value in (fact.a, fact.b)):
        text += f"  ({fact.b - fact.a:+.4g})"
    return text


def _value(value: Any) -> str:
    """Write a value for people: of parents their ids, of other groups NAME=VALUE."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, Mapping):
        return str(value["id"]) if "id" in value else output.pairs(value)
    return "none" if value is None else output.number(value)


def _dtypes(tensor: TensorChange) -> str:
    types = (dtype for dtype in (tensor.dtype_a, tensor.dtype_b) if dtype is not None)
    return ARROW.join(dict.fromkeys(types))


def _shapes(tensor: TensorChange) -> str:
    shapes = (shape for shape in (tensor.shape_a, tensor.shape_b) if shape is not None)
    return ARROW.join(dict.fromkeys("×".join(map(str, shape)) or "scalar" for shape in shapes))


def _share(tensor: TensorChange) -> str:
    if tensor.statistics is None:
        return ""
    share = tensor.statistics.share
    return "<0.1%" if 0 < share < 0.001 else f"{share:.1%}"


def _statistic(name: str) -> Callable[[TensorChange], str]:
    def write(tensor: TensorChange) -> str:
        value = getattr(tensor.statistics, name, None)
        return "" if value is None else f"{value:.4g}"

    return write


TENSORS: tuple[Column[TensorChange], ...] = (
    Column("TENSOR", lambda tensor: tensor.name, style="yellow", elastic=40, cut=tables.the_end),
    Column("CHANGE", lambda tensor: tensor.change, rank=2),
    Column("DTYPE", _dtypes, rank=4),
    Column("SHAPE", _shapes, rank=1),
)
STATISTICS: tuple[Column[TensorChange], ...] = (
    Column("SHARE", _share, right=True),
    Column("LARGEST", _statistic("largest"), right=True, rank=5),
    Column("MEAN", _statistic("mean"), right=True, rank=6),
    Column("RELATIVE", _statistic("relative"), right=True, rank=3),
    Column("COSINE", _statistic("cosine"), right=True, rank=7),
)
