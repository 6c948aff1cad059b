"""``mvc add``.

Public names: ``add``.
"""

from __future__ import annotations

import os
import shlex
import time
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output, values
from mvc.errors import Conflict, UsageError

if TYPE_CHECKING:
    from mvc.registry.version import Added

# What tells a file from a family, if the two arguments were swapped.
MODEL_SUFFIXES = frozenset(
    """
    .bin .ckpt .gguf .h5 .joblib .keras .msgpack .npy .npz .onnx .pb .pickle .pkl .pt .pt2 .pth
    .safetensors .tar .tflite .zip
    """.split()
)
FEW = 3


@command.command(
    "add",
    usage="FAMILY PATH [OPTIONS]",
    examples=[
        ("mvc add resnet18 model.pt", "the first version: resnet18/v1"),
        ("mvc add resnet18 model.pt -m acc=0.95 -m loss=0.12", "with metrics"),
        ("mvc add resnet18 new.pt --parent resnet18@best -p lr=1e-5", "with its origin"),
        ('mvc add resnet18 new.pt -t prod --message "longer schedule"', "tagged, with a note"),
    ],
    statuses={
        4: "no such file, registry or parent",
        5: "the file changed while it was read; or: added, but a tag could not be set",
    },
)
@click.argument("family", required=False)
@click.argument("paths", metavar="PATH", nargs=-1)
@click.option(
    "-m", "--metric", "metrics", multiple=True, metavar="NAME=NUMBER", help="A result, as acc=0.95."
)
@click.option(
    "-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A setting, as lr=1e-5."
)
@click.option(
    "-l",
    "--lineage",
    multiple=True,
    metavar="NAME=VALUE",
    help="Where it comes from, as dataset=imagenet-1k or date=2026-11-20.",
)
@click.option(
    "--parent", "parents", multiple=True, metavar="REF", help="A version it was made from."
)
@click.option(
    "--framework", metavar="NAME", help="As pytorch.  [default: as the file's format tells]"
)
@click.option("--arch", metavar="NAME", help="The architecture, as resnet18.")
@click.option("--input-shape", metavar="1,3,224,224", help="The shape of one input.")
@click.option(
    "--label", "labels", multiple=True, metavar="NAME=TEXT", help="Any mark, as team=vision."
)
@click.option(
    "-t", "--tag", "tags", multiple=True, metavar="TAG", help="A tag to set on the new version."
)
@click.option("--message", metavar="TEXT", help="A note on this version.")
@command.as_json
@command.quiet
def add(
    family: str | None,
    paths: tuple[str, ...],
    metrics: tuple[str, ...],
    params: tuple[str, ...],
    lineage: tuple[str, ...],
    parents: tuple[str, ...],
    framework: str | None,
    arch: str | None,
    input_shape: str | None,
    labels: tuple[str, ...],
    tags: tuple[str, ...],
    message: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Register a model file as the next version.

    The file is read once and stored whole: parts that the store has already
    are shared, the rest is compressed, and mvc checkout gives back the same
    bytes. The file itself is left as it is. When the command ends with
    status 0, the version is safely on disk and the file may be deleted.

    The last line printed is the new version's id, as resnet18/v1. -m, -p, -l,
    --label, --parent and -t may be given several times. Values of -p and -l
    become numbers where nothing is lost by it: 1.10 stays text.
    """
    name, path = _family_and_path(family, paths, metrics)
    numbers, settings = values.metrics(metrics), values.values(params, "-p")
    origin, marks = values.values(lineage, "-l"), values.labels(labels)
    started = time.monotonic()
    added = command.open_registry().add(
        name,
        path,
        numbers,
        params=settings,
        lineage=origin,
        parents=parents,
        framework=framework,
        architecture=arch,
        input_shape=values.shape(input_shape),
        labels=marks,
        message=message,
        tags=tags,
    )
    if as_json:
        output.json_result(added.as_dict())
    else:
        if not quiet:
            _tell(added, time.monotonic() - started)
        output.result(added.id)
    return Conflict.status if added.untagged else 0


def _tell(added: Added, seconds: float) -> None:
    size, stored = output.size(added.artifact.size), output.size(added.stored)
    output.say(f"{added.artifact.name}: {size} read, {stored} stored, {seconds:.1f} s")
    if added.same_bytes:
        output.note(f"the same bytes as {added.same_bytes}")
    elif added.same_weights:
        output.note(f"the same weights as {added.same_weights}, in another file")


def _family_and_path(
    family: str | None, paths: tuple[str, ...], metrics: tuple[str, ...]
) -> tuple[str, str]:
    """Tell what was meant by the arguments; everything but FAMILY PATH is answered with it."""
    if family is None:
        raise UsageError(
            "which file, and of which family?", hint="mvc add FAMILY PATH, as in "
            "mvc add resnet18 model.pt"
        )  # fmt: skip
    lost = [path for path in paths if values.is_metric(path) and not os.path.lexists(path)]
    kept = [path for path in paths if path not in lost]
    if lost:
        given = " ".join(f"-m {shlex.quote(text)}" for text in (*metrics, *lost))
        typed = shlex.join(["mvc", "add", family, *kept[:1]])
        raise UsageError(f"'{lost[0]}' lacks its own -m", hint=f"{typed} {given}")
    if not kept:
        raise _one_argument(family)
    if len(kept) > 1:
        raise _too_many(family, kept)
    if _is_path(family) and not os.path.isfile(kept[0]):
        raise UsageError(
            f"'{family}' is a file; the family comes first",
            hint=shlex.join(["mvc", "add", kept[0], family]),
        )
    if _is_path(family) and os.path.isfile(family):  # mvc add a.pt b.pt
        raise _one_argument(family)
    return family, kept[0]


def _one_argument(only: str) -> UsageError:
    if _is_path(only):
        return UsageError(
            f"which family is '{only}' a version of?",
            hint=f"mvc add FAMILY {shlex.quote(only)}, as in mvc add resnet18 {shlex.quote(only)}",
        )
    return UsageError(
        f"which file is to become a version of '{only}'?", hint=f"mvc add {shlex.quote(only)} PATH"
    )


def _too_many(family: str, paths: list[str]) -> UsageError:
    if _is_path(family):  # mvc add *.pt
        return _one_argument(family)
    shown = " ".join(shlex.quote(path) for path in paths[:FEW])
    more = " …" if len(paths) > FEW else ""
    return UsageError(
        f"mvc add takes one file, {len(paths)} were given",
        hint=f'for f in {shown}{more}; do mvc add {family} "$f"; done',
    )


def _is_path(text: str) -> bool:
    suffix = os.path.splitext(text)[1].lower()
    return suffix in MODEL_SUFFIXES or os.sep in text or os.path.isfile(text)
