"""Checking beside others: what they took away meanwhile looks like damage, and is none.

A gc releases versions, a repack and a merge replace packs, a move takes all
of it elsewhere; none of them waits for who only reads. So what is found while
anything went is looked for once more, and counts if it is found again. What is
found in a place that the store was leaving does not count.

Public names: ``confirmed``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mvc.errors import Busy
from mvc.registry.care.findings import Report
from mvc.store.lock import there
from mvc.store.settings import PACKS, ROOTS, standing

MOST_CHECKS = 4


def confirmed(check: Callable[[], Report], store: Callable[[], Path]) -> Report:
    """Check until nothing is found, or nothing went meanwhile, or four times.

    Args:
        check: Checks all of it; never only what is next in turn.
        store: Finds the store anew.

    Raises:
        Busy: The store was moved as often.
    """
    found: set[tuple[str, str]] | None = None
    checks = moves = 0
    while True:
        folder = store()
        stood, before = standing(folder), there(folder, PACKS, ROOTS)
        report = check()
        if found is not None:
            again = (each for each in report.findings if (each.kind, each.object) in found)
            report = replace(report, findings=tuple(again))
        if report.ok:
            return report
        if store() != folder or standing(folder) != stood:
            moves += 1
            if moves == MOST_CHECKS:
                raise Busy("the store is moved while it is checked", hint="run the command again")
            continue
        checks += 1
        if checks == MOST_CHECKS or before <= there(folder, PACKS, ROOTS):
            return report
        found = {(each.kind, each.object) for each in report.findings}
