"""``mvc list``, ``mvc show`` and ``mvc log``.

Public names: ``list_``, ``show``, ``log``, ``answer``, ``is_file``, ``version_table``,
``NO_FAMILY``, ``NOTHING_FITS``.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output
from mvc.errors import MvcError, NotFound, UsageError

if TYPE_CHECKING:
    from mvc import ModelRegistry
    from mvc.registry.family import Family
    from mvc.registry.intake.unregistered import Described
    from mvc.registry.version import Version
    from mvc.tree import TreeFile

# How many files of a directory are shown unless more are asked for.
MOST_FILES = 50
NO_FAMILY = {4: "no such family or registry"}
NO_VERSIONS = "no versions; mvc log --withdrawn shows withdrawn ones too"
NOTHING_FITS = "this is true of no version"


@command.command(
    "list",
    usage="[FAMILY] [OPTIONS]",
    examples=[
        ("mvc list", "all families"),
        ("mvc list resnet18", "its newest versions"),
        ("mvc list --where 'acc > 0.9'", "families with such a version"),
        ("mvc list resnet18 --json --all", "all of them, for a script"),
    ],
    statuses=NO_FAMILY,
)
@click.argument("family", required=False)
@click.option(
    "--where", metavar="EXPR", help="Only what this is true of; mvc search --help explains it."
)
@command.limit
@command.as_json
@command.quiet
def list_(
    family: str | None,
    where: str | None,
    most: int | None,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """List families, or the versions of one.

    Without FAMILY, a line for each family: how many versions it has, which
    is the newest, which the best and by what, and its tags. With FAMILY, a
    line for each of its versions, newest first. Withdrawn versions are left
    out; mvc log --withdrawn shows them. With --where, only the families that
    have a version of which EXPR is true, or only these versions of FAMILY.
    """
    registry = command.open_registry()
    if family is not None:
        name = command.family_name(family)

        def find(limit: int | None) -> list[Version]:
            if where is None:
                return registry.log(name, limit=limit)
            return registry.search(where, name=name, limit=limit)

        nothing = NO_VERSIONS if where is None else NOTHING_FITS
        found = command.limited(find, most, everything)
        answer(found, as_json, quiet, version_table, nothing=nothing)
        return
    families = command.limited(
        lambda limit: registry.families(where=where, limit=limit), most, everything, these="first"
    )
    if as_json:
        output.json_result([_family_json(known) for known in families])
    elif quiet:
        for known in families:
            output.result(known.name)
    elif families:
        _family_table(families)
    elif where is not None:
        output.note(NOTHING_FITS)
    else:
        output.note("no families yet; mvc add FAMILY PATH registers the first version")


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
    for the file; weights is equal for the same tensors in any file.

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
        meant = f"{shlex.quote(tensors)} --tensors" if tensors else "REF|FILE [OPTIONS]"
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
    files = _files(registry, version)
    if files and as_json:
        version = replace(version, artifact=replace(version.artifact, listing=files))

    def tell(_: list[Version]) -> None:
        output.facts(_facts(version))
        if files:
            _file_table(files, everything)

    answer([version], as_json, quiet, tell, single=True)


def is_file(text: str) -> bool:
    """Say whether a file is meant: by how it begins, or because it is there and no family is."""
    if text.startswith(("/", ".")):
        return True
    if not os.path.lexists(text):
        return False
    from mvc.registry import refs

    try:
        command.open_registry().family(refs.parse(text).family)
    except (NotFound, UsageError):
        return True
    return False


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
        output.facts(_file_facts(found))
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


@command.command(
    "log",
    usage="[FAMILY] [OPTIONS]",
    examples=[
        ("mvc log", "the newest versions of all families"),
        ("mvc log resnet18 -n 5", "the newest five of one"),
        ("mvc log resnet18 --withdrawn", "with those taken out of use"),
    ],
    statuses=NO_FAMILY,
)
@click.argument("family", required=False)
@click.option("--withdrawn", is_flag=True, help="Show withdrawn versions too.")
@command.limit
@command.as_json
@command.quiet
def log(
    family: str | None,
    withdrawn: bool,
    most: int | None,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show versions with their story, newest first.

    Per version: when and by whom it was registered, its message, metrics,
    and what it was made from; of one family, or of all.
    """
    registry = command.open_registry()
    name = None if family is None else command.family_name(family)
    found = command.limited(
        lambda n: registry.log(name, limit=n, withdrawn=withdrawn), most, everything
    )
    answer(found, as_json, quiet, _stories)


def answer(
    versions: list[Version],
    as_json: bool,
    quiet: bool,
    tell: Callable[[list[Version]], None],
    *,
    single: bool = False,
    nothing: str = NO_VERSIONS,
) -> None:
    """Print versions as ``tell`` shows them, as JSON or as ids; a note where there are none."""
    if as_json:
        shown = [version.as_dict() for version in versions]
        output.json_result(shown[0] if single else shown)
    elif quiet:
        output.ids(versions)
    elif not versions:
        output.note(nothing)
    else:
        tell(versions)


def _family_json(family: Family) -> output.Json:
    rule = family.rule
    return {
        "family": family.name,
        "versions": family.count - len(family.withdrawn),
        "latest": None if family.latest is None else f"v{family.latest}",
        "best": None if family.best is None else f"v{family.best[0]}",
        "rule": None if rule is None else {"metric": rule.metric, "mode": rule.mode},
        "tags": {tag: f"v{number}" for tag, number in family.tags.items()},
    }


def _family_table(families: Sequence[Family]) -> None:
    rows = [("FAMILY", "VERSIONS", "LATEST", "BEST", "TAGS")]
    for family in families:
        best = ""
        if family.best is not None and family.rule is not None:
            value = output.number(family.best[1])
            best = f"v{family.best[0]}  {family.rule.metric}={value}"
        rows.append(
            (
                family.name,
                f"{family.count - len(family.withdrawn):,}",
                f"v{family.latest}" if family.latest else "",
                best,
                ", ".join(f"{tag}=v{number}" for tag, number in family.tags.items()),
            )
        )
    output.table(rows, right=[1])


def version_table(versions: Sequence[Version], column: str = "version") -> None:
    """Print versions, a line each; ``column`` is what each is called: ``version`` or ``id``."""
    rows = [("VERSION", "CREATED (UTC)", "SIZE", "METRICS", "NAMES", "MESSAGE")]
    rows += [
        (
            getattr(version, column),
            output.when(version.created),
            output.size(version.artifact.size),
            output.pairs(version.metrics),
            _standing(version),
            (version.message or "").partition("\n")[0],
        )
        for version in versions
    ]
    output.table(rows, right=[2])


def _stories(versions: Sequence[Version]) -> None:
    for place, version in enumerate(versions):
        if place:
            output.result("")
        standing = _standing(version)
        called = f"  ({standing})" if standing else ""
        who = f"{output.when(version.created)} UTC  {version.author}"
        output.result(output.clean(f"{version.id}  {who}{called}"))
        told = (version.message or "").split("\n") if version.message else []
        parents = [str(parent.get("id")) for parent in version.lineage.get("parents", [])]
        if version.metrics:
            told.append(output.pairs(version.metrics))
        told.append(f"{version.artifact.name}, {_measure(version)}")
        if parents:
            told[-1] += f", from {', '.join(parents)}"
        for text in told:
            output.result(f"    {output.clean(text)}".rstrip())


def _facts(version: Version) -> list[tuple[str, str]]:
    artifact, model, lineage = version.artifact, dict(version.model), dict(version.lineage)
    parents = ", ".join(str(parent.get("id")) for parent in lineage.pop("parents", None) or [])
    source = lineage.pop("source", None) or {}
    code = lineage.pop("code", None) or {}
    changed = " and changes since" if code.get("dirty") else ""
    rows = [
        (version.id, _standing(version)),
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
        ("made from", str(source.get("id", ""))),
        ("parents", parents),
        ("code", f"git {code['git']}{changed}" if code.get("git") else ""),
        ("labels", _lines(version.labels)),
        ("message", version.message or ""),
    ]
    return [row for place, row in enumerate(rows) if row[1] or place == 0]


def _measure(version: Version | Described) -> str:
    artifact = version.artifact
    files = f"{output.count(artifact.files, 'file')}, " if artifact.files is not None else ""
    return files + output.size(artifact.size)


def _artifact(version: Version | Described) -> str:
    artifact = version.artifact
    return f"{artifact.name}  {_measure(version)}  {artifact.format}"


def _file_table(files: Sequence[TreeFile], everything: bool) -> None:
    shown = files if everything else files[:MOST_FILES]
    output.result("")
    rows = [(f"{file.mode:04o}", output.size(file.size), file.path) for file in shown]
    output.table([("MODE", "SIZE", "PATH"), *rows], right=[1])
    if len(shown) < len(files):
        output.note(f"the first {len(shown)} of {len(files):,} files; --all shows all")


def _standing(version: Version) -> str:
    missing = [] if version.present or version.released else ["bytes missing"]
    return ", ".join(filter(None, [output.names_of(version), *missing]))


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
