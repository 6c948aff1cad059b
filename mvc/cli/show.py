"""``mvc show``.

Public names: ``show``, ``is_file``.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output, tables, versions
from mvc.cli.tables import Column
from mvc.errors import MvcError, UsageError

if TYPE_CHECKING:
    from mvc import ModelRegistry
    from mvc.registry.alike import Related
    from mvc.registry.intake.unregistered import Described
    from mvc.registry.version import Version
    from mvc.tree import TreeFile

# How many files of a directory are shown unless more are asked for.
MOST_FILES = 50
# So many children, and equal versions, are named.
MOST_RELATED = 10
NOT_WHOLE = "children and equal versions were looked for among the newest only"


@command.command(
    "show",
    usage="REF|FILE [OPTIONS]",
    examples=[
        ("mvc show resnet18", "the newest version"),
        ("mvc show resnet18@prod", "the version with this tag"),
        ("mvc show ./model.pt", "a file: is it registered?"),
        ("mvc show resnet18 --tensors 'layer4.*'", "what these tensors take"),
        ("mvc show resnet18@best --json | jq .metrics", "for a script"),
    ],
    statuses={4: "no such version, file or tensor"},
    paged=True,
)
@click.argument("ref", metavar="REF|FILE", required=False)
@click.option("--all", "everything", is_flag=True, help="Show all files of a directory.")
@click.option(
    "--tensors", is_flag=False, flag_value="*", metavar="[GLOB]",
    help="Show the tensors instead, those whose names are like GLOB.",
)  # fmt: skip
@command.as_json
@command.quiet
def show(
    ref: str | None, everything: bool, tensors: str | None, as_json: bool, quiet: bool
) -> None:
    """Show all that is known of a version.

    Its file and digest, the model, metrics, parameters, where it comes from,
    who registered it and when; of a directory its first 50 files. A warning
    says if the store does not hold all its bytes. digest is what b3sum prints
    for the file; weights is equal for the same tensors in any file. On a
    terminal it also says by how much metrics differ from those of the first
    parent and of the best version, and since when tags stand there. children
    are the versions made from it, same bytes and same weights are equal ones.

    Of a FILE or folder it shows the same as far as that is known, registered or
    not, and which versions have the same bytes or weights; nothing is stored.
    What begins with / or . is a FILE, and what is there and names no family.

    --tensors shows a line for each tensor: type, shape, bytes plain and
    stored, how many links deep its delta lies, and in which encodings. ~ marks
    the share of an object in which several tensors lie. What tensors have in
    common counts to each of them, and once in the total. Here REF may also be
    one file of a directory.
    """
    if ref is None:  # as when --tensors came first, and took it for a glob
        options = "[OPTIONS]" if tensors is None else "--tensors"
        meant = f"{'REF|FILE' if tensors in (None, '*') else shlex.quote(tensors)} {options}"
        raise UsageError("REF|FILE is missing", hint=f"mvc show {meant}")
    pattern = None if tensors == "*" else tensors
    if is_file(ref):
        _show_file(ref, everything, tensors is not None, pattern, as_json, quiet)
        return
    registry = command.open_registry()
    if tensors is not None:
        _tensors_of(registry, ref, pattern, as_json, quiet)
        return
    version = registry.show(ref)
    if quiet and not as_json:
        output.ids([version])
        return
    files, related = _files(registry, version), registry.related(version.id)
    if as_json:
        artifact = replace(version.artifact, listing=files or version.artifact.listing)
        output.json_result({**replace(version, artifact=artifact).as_dict(), **asdict(related)})
        return
    rows = [*_facts(registry, version), *_related(related)]
    if output.width() is None:
        output.facts([(version.id, versions.standing(version)), *rows])
    else:
        from mvc.cli import sheet

        sheet.show_version(registry, version, rows)
    if files:
        _file_table(files, everything)
    if not related.complete:
        output.note(f"{NOT_WHOLE}: mvc search 'parent = {version.id}' looks at all")


def is_file(text: str) -> bool:
    """Say whether a file is meant: by how it begins, or because it is there and no family is."""
    from mvc.registry import refs

    return refs.names_file(text, lambda name: command.open_registry().family(name))


def _show_file(
    path: str, everything: bool, tensors: bool, pattern: str | None, as_json: bool, quiet: bool
) -> None:
    from mvc.cli import tensors as printed

    registry = command.registry_or_none()
    table = registry.describe_tensors(path, pattern) if tensors else None
    if table is not None and not as_json and not quiet:
        printed.tensor_table(table, several=os.path.isdir(path))
        return
    found = registry.describe(path)
    if as_json:
        told = {} if table is None else {"tensors": printed.as_json(table)}
        output.json_result({**found.as_dict(), **told})
    elif quiet:
        for identity in found.same_bytes or ():
            output.result(identity)
    else:
        for text in found.notes:
            output.note(text)
        if output.width() is None:
            output.facts(_file_facts(found))
        else:
            from mvc.cli import sheet

            sheet.show([_file_facts(found)])
        if found.artifact.listing:
            _file_table(found.artifact.listing, everything)


def _file_facts(found: Described) -> list[tuple[str, str]]:
    alike = found.same_bytes or found.same_weights
    nothing_like = found.same_bytes is not None and not alike
    rows = [
        (found.artifact.kind, _artifact(found)),
        ("digest", str(found.artifact.digest)),
        ("weights", found.weights or ""),
        ("tensors", _tensors(found)),
        ("loading", _loading(found)),
        ("model", found.framework or ""),
        ("same bytes", ", ".join(found.same_bytes or ())),
        ("same weights", ", ".join(found.same_weights or ())),
        ("registered", "no version has these bytes or weights" if nothing_like else ""),
    ]
    return [row for row in rows if row[1]]


def _tensors_of(
    registry: ModelRegistry, ref: str, pattern: str | None, as_json: bool, quiet: bool
) -> None:
    from mvc.cli import tensors

    table, version = registry.tensors(ref, pattern), registry.resolve(ref)
    if as_json:
        output.json_result({**version.as_dict(), "tensors": tensors.as_json(table)})
    elif quiet:
        output.ids([version])
    else:
        tensors.tensor_table(table, several=version.artifact.files is not None)


def _files(registry: ModelRegistry, version: Version) -> tuple[TreeFile, ...]:
    """Return the files of a directory; none where the list of them cannot be had."""
    if version.artifact.files is None:
        return ()
    try:
        return registry.files(version.id)
    except MvcError as error:
        output.line("warning", error.message)
        return ()


def _facts(registry: ModelRegistry, version: Version) -> list[tuple[str, str]]:
    artifact, model, lineage = version.artifact, dict(version.model), dict(version.lineage)
    lineage.pop("parents", None)
    source, code, imported = (
        _mapping(lineage.pop(n, None)) for n in ("source", "code", "imported")
    )
    changed = " and changes since" if code.get("dirty") else ""
    rows = [
        ("created", f"{output.when(version.created, seconds=True)} UTC by {version.author}"),
        (artifact.kind, _artifact(version)),
        ("digest", str(artifact.digest)),
        ("weights", version.weights or ""),
        ("tensors", _tensors(version)),
        ("loading", _loading(version)),
        ("model", _model(model)),
        ("metrics", _lines(version.metrics)),
        ("params", _lines(version.params)),
        ("lineage", _lines(lineage)),
        ("imported", _lines(imported)),
        ("made from", str(source.get("id", ""))),
        ("parents", ", ".join(_parents(registry, version))),
        ("code", f"git {code['git']}{changed}" if code.get("git") else ""),
        ("labels", _lines(version.labels)),
        ("message", version.message or ""),
    ]
    return [row for row in rows if row[1]]


def _related(related: Related) -> list[tuple[str, str]]:
    rows = [
        ("children", related.children),
        ("same bytes", related.same_bytes),
        ("same weights", related.same_weights),
    ]
    return [(name, output.first(ids, MOST_RELATED)) for name, ids in rows if ids]


def _parents(registry: ModelRegistry, version: Version) -> Iterator[str]:
    for parent in versions.parents_of(version):
        _, why = versions.look_up(registry, parent)
        yield f"{parent.id} ({why})" if why else parent.id


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _artifact(version: Version | Described) -> str:
    artifact = version.artifact
    return f"{artifact.name}  {versions.measure(version)}  {artifact.format}"


def _file_table(files: Sequence[TreeFile], everything: bool) -> None:
    shown = files if everything else files[:MOST_FILES]
    output.result("")
    tables.show(shown, FILES, None)
    if len(shown) < len(files):
        output.note(f"the first {len(shown)} of {len(files):,} files; --all shows all")


def _loading(version: Version | Described) -> str:
    return str(version.artifact.safety or "mvc cannot say what it runs")


def _tensors(version: Version | Described) -> str:
    artifact = version.artifact
    if artifact.tensors is None:
        return ""
    kinds = ", ".join(artifact.dtypes or {})
    parameters = f", {artifact.parameters:,} parameters" if artifact.parameters is not None else ""
    return f"{artifact.tensors:,}{parameters}{', ' + kinds if kinds else ''}"


def _model(model: dict[str, object]) -> str:
    named = [str(model.pop(key)) for key in ("framework", "architecture") if model.get(key)]
    shape = model.pop("input_shape", None)
    if isinstance(shape, (list, tuple)):
        named.append("input " + "×".join(map(str, shape)))
    return ", ".join([*named, *(f"{key}={value}" for key, value in model.items())])


def _lines(values: Mapping[str, object]) -> str:
    known = {name: value for name, value in values.items() if value is not None}
    width = max(map(len, known), default=0)
    return "\n".join(f"{name:<{width}}  {output.number(value)}" for name, value in known.items())


FILES: tuple[Column[TreeFile], ...] = (
    Column("MODE", lambda file: f"{file.mode:04o}", rank=1),
    Column("SIZE", lambda file: output.size(file.size), right=True),
    Column("PATH", lambda file: file.path, style="yellow", elastic=40, cut=tables.the_end),
)
