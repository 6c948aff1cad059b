"""How commands that look print versions.

Public names: ``answer``, ``version_table``, ``standing``, ``measure``, ``NO_FAMILY``,
``NO_VERSIONS``, ``NOTHING_FITS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mvc.cli import output

if TYPE_CHECKING:
    from mvc.registry.intake.unregistered import Described
    from mvc.registry.version import Version

NO_FAMILY = {4: "no such family or registry"}
NO_VERSIONS = "no versions; mvc log --withdrawn shows withdrawn ones too"
NOTHING_FITS = "this is true of no version"


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


def version_table(versions: Sequence[Version], column: str = "version") -> None:
    """Print versions, a line each; ``column`` is what each is called: ``version`` or ``id``."""
    rows = [("VERSION", "CREATED (UTC)", "SIZE", "METRICS", "NAMES", "MESSAGE")]
    rows += [
        (
            getattr(version, column),
            output.when(version.created),
            output.size(version.artifact.size),
            output.pairs(version.metrics),
            standing(version),
            (version.message or "").partition("\n")[0],
        )
        for version in versions
    ]
    output.table(rows, right=[2])


def standing(version: Version) -> str:
    """Write what else a version is called, and whether it can be had."""
    missing = [] if version.present or version.released else ["bytes missing"]
    return ", ".join(filter(None, [output.names_of(version), *missing]))


def measure(version: Version | Described) -> str:
    """Write how much a version holds: ``3 files, 1.2 GB``."""
    artifact = version.artifact
    files = f"{output.count(artifact.files, 'file')}, " if artifact.files is not None else ""
    return files + output.size(artifact.size)
