"""Plays a page that teaches as its reader would: from top to bottom, at a terminal.

============================  =====================================================
block                         what happens
============================  =====================================================
``console``                   each line after ``$`` (and ``>``) is typed; what
                              follows is what the terminal shows, and ``[4]`` an exit
                              status other than 0
``pycon``                     each line after ``>>>`` (and ``...``) is typed at one
                              Python prompt, the same for the whole page
any with ``title="NAME"``     the file NAME is written
``text``                      nothing
============================  =====================================================

Everything happens in one folder that is empty at first. ``cd`` and ``export``
last until the page ends. Shown text is compared as the transcripts compare it,
without any sizes and ages; runs of spaces count as one, and values that go on
below themselves as one line, because they are as wide as what varies; a line
``…`` stands for any lines.

Public names: ``AtTerminal``, ``Reader``, ``Screen``, ``play``, ``plain``.
"""

from __future__ import annotations

import doctest
import io
import os
import re
import runpy
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.support.terminal import ended
from tests.transcripts.replay import NEEDS_SHELL, PROMPT, Session, normal

FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SIZE = re.compile(r"(?<![\w.])\d[\d.]* [kMGT]?B\b|<size>|(?<=\()[\d.]+(?= of plain)|<ratio>")
AGE = re.compile(r"(?<=\s)\d+ (s|min)\b")
CONTINUED = "> "
LEFT_OUT = "…"


class Screen(io.StringIO):
    """What takes printed text and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass
class Reader:
    """Who reads a page and types what it says; ``home`` is not shown."""

    session: Session
    home: Path
    python: dict[str, Any] = field(default_factory=dict)

    def answer(self, kind: str, title: str | None, text: str) -> str:
        """Do what one block says and return it with what is shown now."""
        if title is not None:
            Path(title).parent.mkdir(parents=True, exist_ok=True)
            Path(title).write_text(text, encoding="utf-8")
            return text
        if kind == "console":
            return self._seen(self._console(text))
        if kind == "pycon":
            return self._seen(self._prompt(text))
        assert kind == "text", f"a page that teaches runs its blocks, and this is '{kind}'"
        return text

    def _console(self, text: str) -> str:
        shown = []
        for lines in _commands(text):
            line = lines[len(PROMPT) :].replace(f"\n{CONTINUED}", "\n")
            shown += [f"{lines}\n", self._typed(line)]
        return "".join(shown)

    def _typed(self, line: str) -> str:
        words = shlex.split(line) if line.startswith(("cd ", "export ", "python ")) else []
        if words[:1] == ["cd"]:
            os.chdir(Path(words[1]).expanduser())
            return ""
        if words[:1] == ["export"]:
            name, _, value = words[1].partition("=")
            os.environ[name] = os.path.expandvars(value)
            return ""
        if words[:1] == ["python"] and not NEEDS_SHELL.search(line):
            with patch.object(sys, "argv", words[1:]):  # here, where torch is imported once
                return _run(partial(runpy.run_path, words[1], run_name="__main__"))
        return self.session.shown(line)

    def _prompt(self, text: str) -> str:
        shown = []
        for example in doctest.DocTestParser().get_examples(text):
            first, *rest = example.source.splitlines()
            lines = [f">>> {first}", *(f"... {line}".rstrip() for line in rest)]
            code = compile(example.source, "<stdin>", "single")
            shown += [f"{line}\n" for line in lines]
            shown.append(_run(partial(exec, code, self.python)))
        return "".join(shown)

    def _seen(self, text: str) -> str:
        return text.replace(str(self.home), "")


class AtTerminal(Session):
    """A session whose shell stands on a terminal as well."""

    def _shell(self, line: str) -> tuple[str, int]:
        terminal, status = ended(["sh", "-c", line], environment=self.environment())
        return terminal.written.decode().replace("\r\n", "\n"), status


def play(text: str, reader: Reader) -> str:
    """Do what a page says and return it; what is shown as it was stays as it stands."""

    def anew(block: re.Match[str]) -> str:
        kind, title, body = block.groups()
        shown = reader.answer(kind, title, body)
        if _alike(shown, body):
            shown = body
        fence, rest = block.group(0).split("\n", 1)
        return f"{fence}\n{shown}{rest[len(body) :]}"

    return FENCE.sub(anew, text)


def _alike(shown: str, told: str) -> bool:
    parts = [re.escape(part) for part in f"\n{plain(told)}".split(f"\n{LEFT_OUT}\n")]
    return re.fullmatch(r"\n(?:.*\n)*?".join(parts), f"\n{plain(shown)}") is not None


def plain(text: str) -> str:
    """Return what two runs of a page have in common."""
    whole = re.sub(r"\n {8,}", " ", text)  # a value that goes on below itself
    whole = re.sub(r"\S+…", "<cut>", whole)  # a cell that is cut, as others beside it need
    return re.sub(r" {2,}|─+", "  ", AGE.sub("<age>", SIZE.sub("<size>", normal(whole))))


def _run(call: Callable[[], object]) -> str:
    """Return what Python prints, and how it ends if not well."""
    screen = io.StringIO()
    with redirect_stdout(screen), redirect_stderr(screen), warnings.catch_warnings():
        warnings.simplefilter("default")
        try:
            call()
        except Exception as error:
            screen.write("Traceback (most recent call last):\n  ...\n")
            screen.writelines(traceback.format_exception_only(error))
    return screen.getvalue()


def _commands(text: str) -> Iterator[str]:
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(PROMPT):
            if lines:
                yield "\n".join(lines)
            lines = [line]
        elif lines and line.startswith(CONTINUED) and lines[-1].endswith(("\\", "do", "|", "&&")):
            lines.append(line)
    if lines:
        yield "\n".join(lines)
