"""``mvc doctor``.

Public names: ``doctor``.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvc import environment
from mvc.cli import command, output
from mvc.errors import MvcError

if TYPE_CHECKING:
    from mvc.registry.care.doctor import Diagnosis, Fact

# Where the line, or the script, that loads completion is looked for, by shell.
_COMPLETES = {
    "bash": (".bashrc", ".bash_profile", ".local/share/bash-completion/completions/mvc"),
    "zsh": (".zshrc",),
    "fish": (".config/fish/completions/mvc.fish", ".config/fish/config.fish"),
}


@command.command(
    "doctor",
    usage="[OPTIONS]",
    examples=[
        ("mvc doctor", "on one screen"),
        ("mvc doctor -q && mvc add resnet18 model.pt", "go on only if all is well"),
        ("mvc doctor --json | jq '.facts[] | select(.problem)'", "for a script"),
    ],
    statuses={1: "something is to be mended"},
)
@command.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print only what is to be mended.")
def doctor(as_json: bool, quiet: bool) -> int:
    """Say whether mvc is set up well here.

    Looks at the versions of mvc and its libraries, where the registry and
    its store were found, what their disk can do, permissions, clocks, git
    and the terminal. Each problem comes with what to type. Nothing lasting
    is written, and what it prints may be shown to others: your home stands
    as ~, and no variables are printed.
    """
    from mvc.registry.care.doctor import Diagnosis

    found = Diagnosis((*_of_registry(), *_of_terminal()))
    if as_json:
        output.json_result(found.as_dict())
    else:
        _tell(found, quiet)
    return 0 if found.ok else 1


def _tell(found: Diagnosis, quiet: bool) -> None:
    if not quiet:
        group = ""
        for fact in found.facts:
            shown = f"! {fact.found}" if fact.problem else f"  {fact.found}"
            label = fact.group if fact.group != group else ""
            group = fact.group
            output.result(output.clean(f"{label:<9} {fact.name:<12}{shown}"))
    for fact in found.facts:
        if fact.problem:
            output.result(output.clean(f"problem: {fact.problem}"))
            output.result(output.clean(f"hint: {fact.hint}"))
    if found.ok and not quiet:
        output.result("all is well")


def _of_registry() -> Iterator[Fact]:
    from mvc.registry.care import doctor as examining

    try:
        registry = command.open_registry()
    except MvcError as error:
        yield from examining.software()
        yield examining.failed("registry", "folder", error)
        return
    _, how = command.find_registry()
    for fact in registry.doctor().facts:
        first = (fact.group, fact.name) == ("registry", "folder") and not fact.problem
        yield replace(fact, found=f"{fact.found}, {how}") if first else fact


def _of_terminal() -> Iterator[Fact]:
    from mvc.registry.care.doctor import Fact

    if sys.stdout.isatty():
        size = os.get_terminal_size(sys.stdout.fileno())
        colours = "colours" if environment.colours() else "no colours, as NO_COLOR says"
        yield Fact("terminal", "size", f"{size.columns} x {size.lines}, {colours}")
    encoding = (sys.stdout.encoding or "utf-8").lower()
    if encoding.replace("-", "") == "utf8":
        yield Fact("terminal", "encoding", encoding)
    else:
        problem = f"output is in {encoding}: what that has no letter for is shown as \\u…"
        yield Fact("terminal", "encoding", encoding, problem, "export LC_ALL=C.UTF-8")
    yield Fact("terminal", "pager", _pager())
    yield Fact("terminal", "completion", _completion())


def _pager() -> str:
    name = next(iter(environment.pager()), None)
    if name is None:
        return "none"
    return name if shutil.which(name) else f"{name}, which is not there: nothing is paged"


def _completion() -> str:
    shell, home = environment.shell(), environment.home()
    if shell not in _COMPLETES or home is None:
        return "mvc completion --help says how to have it"
    for name in _COMPLETES[shell]:
        try:
            if b"mvc completion" in Path(home, name).read_bytes():
                return f"set up for {shell}"
        except OSError:
            continue
    return f"not found for {shell}; mvc completion --help says how to have it"
