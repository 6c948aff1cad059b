"""``mvc fsck`` and ``mvc du``.

Public names: ``fsck``, ``du``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output, tables
from mvc.cli.manner import manner
from mvc.cli.tables import Column
from mvc.errors import Damaged, UsageError

if TYPE_CHECKING:
    from mvc.registry.care.coverage import Coverage
    from mvc.registry.care.findings import Finding, Report
    from mvc.registry.care.usage import FamilyUsage, Usage

# What a person asks for first; other kinds follow.
ORDER = ("versions", "records", "events", "roots", "packs", "objects", "files", "bytes")
# Options that ask for different things.
CONTRADICT = (
    ("--quick", "--full"),
    ("--sample", "--max-duration"),
    ("--sample", "--quick"),
    ("--sample", "--repair"),
    ("--max-duration", "--quick"),
    ("--max-duration", "--repair"),
)
# Kinds of what is called by a bare name, which does not say what it is of.
BARE = ("record", "root", "family", "pack")
# Kinds that are told in one where there are several, and what those are.
TOGETHER = {"missing": "object", "root": "root", "record": "record"}
# Versions that are named unless -v asks for all.
MOST_NAMED = 10
# What is freed sooner than this is told with the minute.
SOON = timedelta(days=2)


@command.command(
    "fsck",
    usage="[OPTIONS]",
    examples=[
        ("mvc fsck", "compare the checksum of everything stored"),
        ("mvc fsck --quick", "names, records and indexes only: seconds"),
        ("mvc fsck --sample 2/7", "the second of seven parts: one each day of the week"),
        (
            "mvc fsck --full --max-duration 10m",
            "decode for ten minutes, the longest unchecked first",
        ),
        ("mvc fsck --repair --from model.pt", "take lost bytes from a file; a backup as well"),
    ],
    statuses={
        0: "everything is whole",
        3: "something is damaged or missing; it is named",
        6: "the store is being moved",
    },
)
@click.option("--quick", is_flag=True, help="Do not read the stored bytes.")
@click.option("--full", is_flag=True, help="Decode every file as well and compare its digest.")
@click.option(
    "--sample", metavar="N/T", help="Read only the N-th of T parts; each object is always of one."
)
@click.option(
    "--max-duration",
    metavar="TIME",
    help="Begin nothing after so long: 30s, 10m, 2h. Read first what was checked longest ago.",
)
@click.option("--repair", is_flag=True, help="Mend what can be mended, then check again.")
@click.option(
    "--from", "sources", metavar="FILE_OR_DIR", multiple=True,
    help="With --repair: a whole copy, or a backup, to take lost bytes from.",
)  # fmt: skip
@click.option(
    "--lost-records", is_flag=True,
    help="With --repair: every record that only the store has becomes a version again.",
)  # fmt: skip
@click.option(
    "--lost-records-of", "lost_registry", metavar="ID",
    help="The same, with those of a registry on this store whose .mvc is lost.",
)  # fmt: skip
@command.as_json
def fsck(
    quick: bool,
    full: bool,
    sample: str | None,
    max_duration: str | None,
    repair: bool,
    sources: tuple[str, ...],
    lost_records: bool,
    lost_registry: str | None,
    as_json: bool,
) -> int:
    """Check that every version is whole.

    Only reads. Says first how much; then, for everything that is damaged or
    missing, where it is, which versions that hurts, and what to do about it.
    A large store is checked in parts by --sample, or by --max-duration, which
    goes on where an earlier check ended or was interrupted; records and indexes
    are always checked whole.

    With --repair it mends what has a whole copy: records from their roots in
    the store, roots from records, objects from damaged packs and from what
    --from names. Nothing is deleted: damaged files go to the store's folder
    quarantine. A record that may be another git branch's, or whose number is
    not certain, comes back only with --lost-records; what a registry had whose
    .mvc is lost, with --lost-records-of.
    """
    chosen = {
        "--quick": quick,
        "--full": full,
        "--repair": repair,
        "--sample": sample is not None,
        "--max-duration": max_duration is not None,
    }
    for_repair = {
        "--from FILE_OR_DIR": bool(sources),
        f"--lost-records-of {lost_registry}": lost_registry is not None,
        "--lost-records": lost_records,
    }
    _refuse(chosen, {} if repair else for_repair)
    level = "quick" if quick else "full" if full else "default"
    registry = command.open_registry()
    if not as_json:  # else nobody is told how much it is
        size = output.size(registry.fsck_size(level, sample=sample, max_duration=max_duration))
        whole = f"reading {size}"
        if max_duration is not None:
            whole = f"reading for {max_duration} at most, of {size}"
        output.say("reading records and indexes only" if quick else whole)
    report = registry.fsck(
        level,
        repair=repair,
        sources=sources,
        lost_records=lost_records if lost_registry is None else lost_registry,
        sample=sample,
        max_duration=max_duration,
    )
    if as_json:
        output.json_result({"ok": report.ok, **asdict(report)})
    else:
        _tell(report)
    return 0 if report.ok else Damaged.status


@command.command(
    "du",
    usage="[OPTIONS]",
    examples=[
        ("mvc du", "in all, and per family"),
        ("mvc du --json | jq .ratio", "what part of plain copies is kept"),
    ],
    statuses={4: "no registry or store"},
)
@command.as_json
def du(as_json: bool) -> None:
    """Show what versions take on disk.

    Beside it stands what plain copies of all their files would take. What
    versions share counts once in the whole, and in each family that needs it.
    """
    used = command.open_registry().du()
    if as_json:
        output.json_result({**asdict(used), "ratio": used.ratio})
        return
    output.table(_totals(used), right=[1])
    if used.families:
        output.result("")
        tables.show(used.families, FAMILIES, None)


def _refuse(chosen: Mapping[str, bool], for_repair: Mapping[str, bool]) -> None:
    """Refuse options that do not go together, and what only a repair does."""
    for one, other in CONTRADICT:
        if chosen[one] and chosen[other]:
            raise UsageError(f"{one} and {other} contradict each other", hint="choose one")
    for option in (option for option, given in for_repair.items() if given):
        name = option.partition(" ")[0]
        raise UsageError(f"{name} is for a repair", hint=f"mvc fsck --repair {option}")


def _tell(report: Report) -> None:
    for mended in report.mended:
        kind = f"{mended.kind} " if mended.kind in BARE else ""
        output.result(f"mended: {kind}{mended.object}, {mended.how}")
    for note in report.notes:
        output.note(note)
    for findings in _alike(report.findings):
        _tell_findings(findings)
    if report.coverage is not None:
        _tell_coverage(report.coverage)
    looked_at = ", ".join(
        output.size(count) if kind == "bytes" else output.count(count, kind.removesuffix("s"))
        for kind, count in sorted(report.checked.items(), key=_rank)
    )
    if report.ok:
        output.result(f"ok: {looked_at}")
        return
    hurt = sorted(
        {version for finding in report.findings for version in finding.versions},
        key=lambda version: (version.rpartition("/v")[0], len(version), version),
    )
    found = output.count(len(report.findings), "finding")
    output.result(f"{found} in {looked_at}; versions hurt: {_some(hurt) or 'none'}")


def _tell_coverage(covered: Coverage) -> None:
    read = f"{covered.packs} of {output.count(covered.of_packs, 'pack')} read"
    sizes = f"{output.size(covered.size)} of {output.size(covered.of_size)}"
    left = f"; {covered.never:,} never found whole yet" if covered.never else ""
    oldest = f"; the oldest check is of {output.when(covered.oldest)}" if covered.oldest else ""
    output.result(f"{read}, {sizes}{left}{oldest}")


def _rank(counted: tuple[str, int]) -> int:
    return ORDER.index(counted[0]) if counted[0] in ORDER else len(ORDER)


def _alike(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Put together what is told in one: a model has thousands of objects, a clone lacks all."""
    alike: dict[Hashable, list[Finding]] = {}
    for finding in findings:
        same: Hashable = finding
        if finding.kind == "object":
            same = finding.place, finding.versions
        elif finding.kind in TOGETHER:
            same = finding.kind, _shared_remedy(finding), Path(finding.place).parent
        alike.setdefault(same, []).append(finding)
    return list(alike.values())


def _shared_remedy(finding: Finding) -> str:
    """Return the part of a remedy that does not speak of this one thing."""
    if finding.kind == "missing":
        return finding.remedy.rpartition("; ")[2]
    return finding.remedy.partition(", or: ")[0]


def _tell_findings(findings: list[Finding]) -> None:
    one, others = findings[0], len(findings) - 1
    what, where, remedy = one.object, one.place, one.remedy
    versions = list(dict.fromkeys(v for finding in findings for v in finding.versions))
    if others and one.kind in TOGETHER:
        things = output.count(len(findings), TOGETHER[one.kind])
        what = f"{things} of {output.count(len(versions), 'version')}; --json names all"
        where = where if where == findings[-1].place else str(Path(where).parent)
        remedy = remedy if remedy == findings[-1].remedy else _shared_remedy(one)
    elif others:
        what += f" and {output.count(others, 'other')}; --json names all"
    output.facts(
        [
            (one.kind, what),
            ("  in", where),
            ("  hurts", _some(versions) or "no version"),
            ("  remedy", remedy),
        ]
    )


def _some(versions: Sequence[str]) -> str:
    """Name versions: the first of them, or all if asked to say more."""
    return output.first(versions, len(versions) if manner.verbose else MOST_NAMED)


def _totals(used: Usage) -> list[tuple[str, str, str]]:
    from mvc.registry.sealed import parse_time

    live = output.count(used.versions, "version")
    if used.ratio is not None:
        live += f" ({used.ratio:.2f} of plain copies: {output.size(used.plain)})"
    rows = [("live", output.size(used.stored), live)]
    if used.beneath:
        why = "of that, in no version; versions are kept over it"
        rows.append(("  beneath", output.size(used.beneath), why))
    if used.freed_from is not None:
        gone = output.count(used.withdrawn_versions, "version")
        soon = parse_time(used.freed_from) - datetime.now(timezone.utc) < SOON
        when = f"{output.when(used.freed_from)} UTC" if soon else used.freed_from[:10]
        freed = f"{gone}; freed from {when}, now: mvc gc --grace 0"
        rows.append(("withdrawn", output.size(used.withdrawn), freed))
    if used.other:
        rows.append(("other", output.size(used.other), "indexes, and what no version needs"))
    if used.cache:
        rows.append(("cache", output.size(used.cache), "disposable"))
    return rows


FAMILIES: tuple[Column[FamilyUsage], ...] = (
    Column("FAMILY", lambda family: family.family, style="yellow", elastic=16),
    Column("VERSIONS", lambda family: f"{family.versions:,}", right=True, rank=1),
    Column("PLAIN", lambda family: output.size(family.plain), right=True),
    Column("STORED", lambda family: output.size(family.stored), right=True),
)
