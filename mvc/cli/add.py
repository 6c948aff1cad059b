"""``mvc add``.

Public names: ``add``, ``tell``.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvc.cli import command, output, values
from mvc.errors import Conflict, MvcError, UsageError

if TYPE_CHECKING:
    from mvc import ModelRegistry
    from mvc.registry.version import Added

# Beside those of models, what tells a file from a family, if the two arguments were swapped.
ARCHIVE_SUFFIXES = (".tar", ".zip")
# What stands beside family and name on the line of one of several: 'v1', two sizes, gaps.
BESIDE = 32
# How many files without tensors a note names.
MOST_NAMED = 8


@command.command(
    "add",
    usage="FAMILY PATH… [OPTIONS]",
    examples=[
        ("mvc add resnet18 model.pt -m acc=0.95 -m loss=0.12", "with metrics: resnet18/v1"),
        ("mvc add resnet18 new.pt --parent resnet18@best -t prod", "with its origin, tagged"),
        ("mvc add resnet18 *.pt", "a version for each file, oldest first"),
        ("mvc add resnet18 new.pt -m acc=0.95 --require 'acc > @best.acc'", "if it is better"),
        ("mvc add resnet18 --from resnet18@v1 -m acc=0.97", "a metric that came later"),
    ],
    statuses={
        1: "refused: --require is not true, or it may run code when it is loaded",
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
    help="Where it comes from, as dataset=imagenet-1k or code=COMMIT.",
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
@click.option(
    "--meta", metavar="FILE.yaml", help="Read metrics, params, lineage, … from a YAML file."
)
@click.option(
    "--from", "origin", metavar="REF", help="Use what this version holds instead of a PATH."
)
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Of a folder, take only files like this."
)
@click.option(
    "--exclude", multiple=True, metavar="GLOB", help="Of a folder, take no files like this."
)
@click.option(
    "--if-changed",
    is_flag=True,
    help="Make no version if the latest says the same already; of several PATHs: "
    "of none that is a version already.",
)
@click.option(
    "--require",
    multiple=True,
    metavar="EXPR",
    help="Store it only if this is true of it (else status 1).",
)
@click.option(
    "--refuse-code", is_flag=True, help="Refuse what may run code when it is loaded (status 1)."
)
@command.as_json
@command.quiet
def add(
    family: str | None,
    paths: tuple[str, ...],
    metrics: tuple[str, ...],
    meta: str | None,
    origin: str | None,
    as_json: bool,
    quiet: bool,
    **typed: Any,
) -> int:
    """Register a model file or folder as the next version.

    The file is read once and stored whole: parts that the store has already
    are shared, the rest is compressed, and mvc checkout gives back the same
    bytes. The file itself is left as it is. When the command ends with
    status 0, the version is safely on disk and the file may be deleted.

    A folder is one version: all files in it and below, links to files read
    through, without .git, .mvc, .cache and __pycache__. GLOB means a file by
    its path or name, or by those of a folder above it; * also stands for /.

    Several paths become several versions, oldest first; a note names those in
    which mvc knows no tensors. --from makes a version of one that is there:
    its file, model, parameters and lineage, with the metrics given now; it
    becomes the new version's parent.

    The last line printed is the new version's id, as resnet18/v1; of several,
    each has a line that begins with it. -m, -p, -l, --label, --parent, -t and
    --require may be given several times. Values of -p and -l become numbers where nothing
    is lost by it: 1.10 stays text.

    --require compares what is given with numbers or with other versions, as in
    'acc >= @best.acc - 0.005': if that is false, nothing is read or stored. A
    comparison with a version that is not there yet is left out, with a warning;
    a value that is not given is not good enough. mvc search explains EXPR.

    mvc runs nothing of what it stores. A note says if loading the file may run
    code, as far as its bytes tell; --refuse-code stores no such file.
    """
    name, files = _family_and_paths(family, paths, metrics, origin)
    given = _over(_card(meta), _given(metrics, typed))
    if len(files) > 1 and (given["metrics"] or given["tags"]):
        raise UsageError(
            f"-m and -t belong to one version, and there are {len(files)} paths",
            hint="add them one by one, or give the metrics later: mvc add FAMILY --from REF -m …",
        )
    if len(files) > 1 and given["if_changed"]:
        given["if_changed"] = "any"
    sources = _sources(files, origin, typed)
    registry = command.open_registry()
    if origin is not None:
        _check_origin(registry, origin)
    all_added = _add_all(registry, name, sources, given, quiet=quiet, as_json=as_json)
    if as_json:
        shown = [added.as_dict() for added in all_added]
        output.json_result(shown if len(files) > 1 else shown[0])
    return Conflict.status if any(added.untagged for added in all_added) else 0


def _add_all(
    registry: ModelRegistry,
    name: str,
    sources: list[dict[str, Any]],
    given: dict[str, Any],
    *,
    quiet: bool,
    as_json: bool,
) -> list[Added]:
    """Add one source after the other, and say of each what it became."""
    all_added, started = [], time.monotonic()
    names = [os.path.basename(os.path.abspath(source.get("path", ""))) for source in sources]
    tags = _tags(registry, name, given["tags"])
    for source in sources:
        before = time.monotonic()
        added = registry.add(name, **source, **given)
        all_added.append(added)
        if as_json:
            continue
        if len(sources) > 1 and not quiet:
            _tell_one_of_many(added, names)
            continue
        if not quiet:
            tell(added, time.monotonic() - before)
            for tag, stood in tags.items():
                if tag.lower() in map(str.lower, added.tags):
                    output.say(output.moved(tag, stood, added.number))
        output.result(added.id)
    if len(sources) > 1 and not quiet and not as_json:
        _tell_all(all_added, time.monotonic() - started)
    return all_added


def _tags(
    registry: ModelRegistry, name: str, tags: tuple[str, ...] | list[str]
) -> dict[str, int | None]:
    """Return where tags that are to be moved stand now."""
    try:
        family = registry.family(name) if tags else None
    except MvcError:  # there is none yet
        family = None
    return {tag: None if family is None else family.tagged(tag) for tag in tags}


def _sources(files: list[str], origin: str | None, typed: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what each version is made from, in order, by the names of ``ModelRegistry.add``."""
    globs = {"include": typed["include"], "exclude": typed["exclude"]}
    if origin is not None:
        return [{"from_version": origin, **globs}]
    folders = [path for path in files if os.path.isdir(path)]
    return [
        {"path": path, **(globs if path in folders or not folders else {})}
        for path in _oldest_first(files, globs)
    ]


def _given(metrics: tuple[str, ...], typed: dict[str, Any]) -> dict[str, Any]:
    """Return what was typed by the names of ``ModelRegistry.add``."""
    same = ("parents", "framework", "message", "tags", "if_changed", "refuse_code", "require")
    return {
        "metrics": values.metrics(metrics),
        "params": values.values(typed["params"], "-p"),
        "lineage": values.values(typed["lineage"], "-l"),
        "labels": values.labels(typed["labels"]),
        "architecture": typed["arch"],
        "input_shape": values.shape(typed["input_shape"]),
        **{name: typed[name] for name in same},
    }


def tell(added: Added, seconds: float) -> None:
    """Say on stderr what became of what was added, and what should be known of it."""
    size, stored = output.size(added.artifact.size), output.size(added.stored)
    if added.artifact.files is not None:
        size = f"{output.count(added.artifact.files, 'file')}, {size}"
    source = added.lineage.get("source")
    taken = f"{size} of {source['id']}" if source else f"{size} read"
    reused = "" if source else _reused(added)
    output.say(f"{added.artifact.name}: {taken}, {stored} stored{reused}, {seconds:.1f} s")
    _tell_notes(added)
    if not source and (alike := _alike(added)):
        output.note(alike)


def _tell_notes(added: Added) -> None:
    safety = added.artifact.safety
    if safety is not None and safety.may_run_code:
        output.note(f"loading '{added.artifact.name}' {safety}")
    for text in added.notes:
        output.note(text)


def _tell_one_of_many(added: Added, names: list[str]) -> None:
    """Print the id of one of several versions, and beside it what it took.

    What a terminal has no room for widens its own line only.
    """
    _tell_notes(added)
    room = (output.width() or sys.maxsize) - len(added.family) - BESIDE
    widest = min(max(len(output.clean(name)) for name in names), max(room, 0))
    columns = [
        added.id.ljust(len(added.family) + 5),
        output.clean(added.artifact.name).ljust(widest),
        output.size(added.artifact.size).rjust(7),
        f"{output.size(added.stored):>7} stored",
        _alike(added, several=True),
    ]
    output.result(output.GAP.join(columns).rstrip())


def _alike(added: Added, *, several: bool = False) -> str:
    if not added.new:
        return f"is {added.id} already" if several else f"nothing changed since {added.id}"
    if added.same_bytes:
        return f"the same bytes as {added.same_bytes}"
    if added.same_weights:
        return f"the same weights as {added.same_weights}, in another file"
    return ""


def _card(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    from mvc.registry.intake import card

    return card.read(Path(path))


def _over(card: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return what was typed over what the card says; names of one group stand side by side."""
    merged = dict(card)
    for name, value in given.items():
        if isinstance(value, dict):
            merged[name] = {**card.get(name, {}), **value}
        elif isinstance(value, tuple):
            merged[name] = (*card.get(name, ()), *value)
        elif value is not None:
            merged[name] = value
    return merged


def _tell_all(all_added: list[Added], seconds: float) -> None:
    from mvc.registry.record import OPAQUE

    size = output.size(sum(added.artifact.size for added in all_added))
    stored = output.size(sum(added.stored for added in all_added))
    made = output.count(sum(added.new for added in all_added), "version")
    output.say(f"{made}, {size} read, {stored} stored{_reused(*all_added)}, {seconds:.1f} s")
    opaque = [added for added in all_added if added.new and added.artifact.format == OPAQUE]
    if opaque:
        names = [added.artifact.name for added in opaque]
        named = ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")
        output.note(
            f"mvc knows no tensors in {len(names)} of {len(all_added)}: {named}; "
            f"mvc rm {opaque[0].family}@{opaque[0].version} takes the first out"
        )


def _reused(*all_added: Added) -> str:
    reused = sum(added.reused for added in all_added)
    return f", {output.size(reused)} reused" if reused else ""


def _oldest_first(paths: list[str], globs: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the paths by their time of change; all are looked at before any is added.

    A folder is as old as its newest file. Of one time, as copies may have it,
    ``v9.pt`` is older than ``v10.pt``.
    """
    if len(paths) < 2:
        return paths
    from mvc.registry.intake.folder import SourceFolder
    from mvc.registry.intake.source import SourceFile
    from mvc.registry.selection import Selection

    times = {}
    for path in paths:
        if os.path.isdir(path):
            times[path] = SourceFolder(Path(path), Selection(**globs)).modified
        else:
            with SourceFile(Path(path)) as source:
                times[path] = source.status.st_mtime_ns
    return sorted(paths, key=lambda path: (times[path], _counted(path)))


def _counted(path: str) -> list[str | int]:
    """Return what paths with numbers in them are sorted by: text and numbers in turn."""
    parts = re.split("([0-9]+)", path)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _family_and_paths(
    family: str | None, paths: tuple[str, ...], metrics: tuple[str, ...], origin: str | None
) -> tuple[str, list[str]]:
    """Tell what was meant by the arguments; everything but FAMILY PATH… is answered with it."""
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
    if origin is not None:
        if kept:
            raise UsageError(
                f"a version of '{kept[0]}' or of {origin}?", hint="give a PATH or --from, not both"
            )
        return family, []
    if not kept and "@" in family:
        typed = shlex.join(["mvc", "add", family.partition("@")[0], "--from", family])
        given = "".join(f" -m {shlex.quote(text)}" for text in metrics)
        raise UsageError(f"'{family}' is a version, not a family", hint=typed + given)
    if not kept:
        raise _one_argument(family)
    if len(kept) > 1 and _is_path(family):  # mvc add *.pt
        raise _one_argument(family)
    if _is_path(family) and not os.path.exists(kept[0]):
        raise UsageError(
            f"'{family}' is a file; the family comes first",
            hint=shlex.join(["mvc", "add", kept[0], family]),
        )
    if _is_path(family) and os.path.isfile(family):  # mvc add a.pt b.pt
        raise _one_argument(family)
    return family, kept


def _check_origin(registry: ModelRegistry, origin: str) -> None:
    from mvc.registry import refs

    if refs.names_file(origin, registry.family):
        show = shlex.join(["mvc", "show", origin])
        raise UsageError(
            f"--from takes a version, and '{origin}' is a file",
            hint=f"{show} says which version it is: --from FAMILY@vN",
        )


def _one_argument(only: str) -> UsageError:
    if _is_path(only):
        return UsageError(
            f"which family is '{only}' a version of?",
            hint=f"mvc add FAMILY {shlex.quote(only)}, as in mvc add resnet18 {shlex.quote(only)}",
        )
    return UsageError(
        f"which file is to become a version of '{only}'?", hint=f"mvc add {shlex.quote(only)} PATH"
    )


def _is_path(text: str) -> bool:
    from mvc.registry.names import model_suffix

    named = model_suffix(text) or text.lower().endswith(ARCHIVE_SUFFIXES)
    return bool(named) or os.sep in text or os.path.isfile(text)
