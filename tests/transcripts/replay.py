"""Replays a session kept as text: what is typed, what is shown, how it ends.

::

    # words for the reader
    $ mvc show resnet18@v9
    error: no version v9 of 'resnet18'
    hint: mvc log resnet18 lists what it has
    [4]

Both streams are shown in the order in which a terminal would have them. A line
that begins with ``mvc`` and asks nothing of a shell runs in this process; any
other is given to ``sh``, with ``mvc`` as a process of its own. JSON of this
process must follow its schema. What differs from run to run (times, ids,
digests, compressed sizes) is replaced by a word in angle brackets.

Public names: ``Session``, ``normal``, ``replay``.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from mvc.cli.app import run
from tests.support import schemas

ROOT = Path(__file__).parents[2]
PROMPT = "$ "
NEEDS_SHELL = re.compile(r"[|&;<>$*`]")
SECONDS = 60

VARYING = (
    (re.compile(r"\bb3:[0-9a-f]{12,64}"), "b3:<digest>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<digest>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"), "<time>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?"), "<time>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b(?!})"), "<date>"),
    (re.compile(r"\b\d+\.\d s$", re.MULTILINE), "<seconds> s"),
    (re.compile(r"(?<=, )[1-9][\d.]* [kMG]?B stored"), "<size> stored"),
    (re.compile(r"(?<=B) {2,}[1-9][\d.]* [kMG]?B stored"), "  <size> stored"),
    (re.compile(r"(?<=[ ,])[\d.]+ [kMGT]?B free"), "<size> free"),
    (re.compile(r"(?<=store )( +\S+ +)[\d.]+ kB \([\d.]+ of"), r"\1<size> (<ratio> of"),
    (re.compile(r"^(size +)[\d.]+ k?B in", re.MULTILINE), r"\1<size> in"),
    (re.compile(r"[\d.]+ k?B(?= to copy)"), "<size>"),
    (re.compile(r'"size": \d+(?=,\n  "packs")'), '"size": <number>'),
    (re.compile(r'(?<="roots": 1,\n  )"size": \d+'), '"size": <number>'),
    (re.compile(r"(?<=another one \()[0-9a-f]{8}(, not [0-9a-f]{8})?"), "<id>"),
    (re.compile(r"[\d.]+ k?B (became|would become about) [\d.]+ k?B"), r"<size> \1 <size>"),
    (re.compile(r"[\d.]+ k?B(?= of no version stay)"), "<size>"),
    (re.compile(r"(?<=nothing to do: )[\d.]+ k?B"), "<size>"),
    (re.compile(r'"(before|after)": [1-9]\d*'), r'"\1": <number>'),
    (re.compile(r"(?<=only they keep )[\d.]+ k?B"), "<size>"),
    (re.compile(r"(?<=reading )\d[\d.]* kB"), "<size>"),
    (re.compile(r"(?<=at most, of )\d[\d.]* kB"), "<size>"),
    (re.compile(r"(?<=packs read, )\d[\d.]* kB of \d[\d.]* kB"), "<size> of <size>"),
    (re.compile(r"^((?:ok:|\d+ findings? in).*), [\d.]+ kB", re.MULTILINE), r"\1, <size>"),
    (re.compile(r"^(live|withdrawn|other|cache) +[\d.]+ k?B", re.MULTILINE), r"\1 <size>"),
    (re.compile(r"^(\w+ +\d+ +[\d.]+ kB) +[\d.]+ kB$", re.MULTILINE), r"\1 <size>"),
    (re.compile(r"\([\d.]+(?= of plain copies: )"), "(<ratio>"),
    (re.compile(r" +~[\d.]+ k?B"), "  ~<size>"),
    (re.compile(r"^(\d+ tensors? +[\d.]+ k?B) +[\d.]+ k?B$", re.MULTILINE), r"\1  <size>"),
    (re.compile(r"(?<=\t)\d+(?=\t\d+\t[a-z,]+\t(true|false)$)", re.MULTILINE), "<number>"),
    (re.compile(r'"(freed|stored|reused|bytes|free|cache|other|withdrawn|ratio)": [\d.]+'),
     r'"\1": <number>'),
)  # fmt: skip


@dataclass(frozen=True)
class Session:
    """Where a session is played: a folder, and one with the script ``mvc`` in it."""

    folder: Path
    scripts: Path
    screen: Callable[[], io.StringIO] = io.StringIO
    """Makes what commands of this process print to."""

    def typed(self, line: str) -> str:
        """Run one line and return what is shown, with words for what varies."""
        return normal(self.shown(line).replace(str(self.folder), "<here>"))

    def shown(self, line: str) -> str:
        """Run one line and return what is shown, and its status unless that is 0."""
        words = shlex.split(line) if not NEEDS_SHELL.search(line) else []
        shown, status = self._here(words[1:]) if words[:1] == ["mvc"] else self._shell(line)
        if shown and not shown.endswith("\n"):
            shown += "\n"
        return shown + (f"[{status}]\n" if status else "")

    def _here(self, arguments: list[str]) -> tuple[str, int]:
        both = self.screen()
        before = Path.cwd()
        try:
            with redirect_stdout(both), redirect_stderr(both):
                status = run(arguments)
        finally:
            os.chdir(before)  # -C changes it
        schemas.check_shown(arguments, both.getvalue())
        return both.getvalue(), status

    def _shell(self, line: str) -> tuple[str, int]:
        done = subprocess.run(
            ["sh", "-c", line],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
        return done.stdout, done.returncode

    def environment(self) -> dict[str, str]:
        """Return what processes of the session have: ``mvc`` and ``python`` are in the path."""
        for name, command in (("mvc", "-m mvc "), ("python", "")):
            script = self.scripts / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {command}"$@"\n')
            script.chmod(0o755)
        path = f"{self.scripts}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}


def normal(text: str) -> str:
    """Replace what differs from run to run by words."""
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def replay(transcript: str, session: Session) -> str:
    """Type every line of a transcript and return it with what is shown now."""
    parts: list[str] = []
    expected = False  # whether we are in the output of the line before
    for line in transcript.splitlines():
        if line.startswith(PROMPT):
            parts.append(f"{line}\n{session.typed(line[len(PROMPT) :])}")
            expected = True
        elif line.startswith("# "):
            parts.append(f"\n{line}\n" if expected else f"{line}\n")
            expected = False
        elif not expected:
            parts.append(f"{line}\n")
    return "".join(parts)
