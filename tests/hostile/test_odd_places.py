"""Names and places that nobody would choose, on the command line and where others left them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.running import ROOT, Outcome, mvc
from tests.hostile.test_tampered_registries import snapshot
from tests.support.faults import Project, whole

pytestmark = pytest.mark.filterwarnings("ignore::mvc.MvcWarning")

FOLDERS = {
    "blanks": b"with  blanks ",
    "a line break": b"two\nlines",
    "not UTF-8": b"\xff\xfe",
    "of a shell": b"$(x) %s ; 'q\" \\",
    "right to left": "\u202egpj.exe".encode(),
    "an option": b"-rf",
}
COMMANDS = """
    init|add net m.bin -m acc=1 -t prod|add net m.bin --from net@v1|list|log|status|show net
    checkout net -o out.bin|path net|search acc>0|du|fsck|rm net@v2|gc --grace 0|repack|store info
    store move elsewhere|add net m.bin
""".replace("\n", "|").split("|")


@pytest.mark.parametrize("name", FOLDERS.values(), ids=FOLDERS)
def test_a_project_may_be_called_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    """Every command works there; what would note a path that is no text says that it is none."""
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    (folder / "m.bin").write_bytes(b"weights")
    monkeypatch.chdir(folder)
    for words in filter(None, map(str.strip, COMMANDS)):
        done = mvc(*(word for word in words.split() if word != "m.bin" or "--from" not in words))
        if words.startswith("store move") and b"\xff" in name:
            assert done.status == 2
            assert "is no text" in done.err
        else:
            assert done.status == 0, (words, done)
        assert "Traceback" not in done.err
        assert done.err.isascii() or done.err.isprintable() or "\u202e" not in done.err


def deep(folder: Path, length: int) -> None:
    """Go to a folder whose path has so many characters."""
    os.chdir(folder)
    while (left := length - len(os.getcwd())) > 1:
        name = "d" * min(200, left - 1)
        os.mkdir(name)
        os.chdir(name)


@pytest.mark.parametrize("length", [3700, 3950, 4200])
def test_a_path_of_thousands_of_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """It works, or it is said that the path is too long, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    try:
        try:
            deep(tmp_path, length)
        except OSError:  # not even Python may go there
            return
        Path("m.bin").write_bytes(b"weights")
        done = _process(["init"])
        if done.returncode == 0:
            assert _process(["add", "net", "m.bin"]).returncode == 0
            assert _process(["fsck", "--full"]).returncode == 0
        else:
            assert done.returncode == 8
            assert b"is too long for the file system" in done.stderr
            assert os.listdir(".") == ["m.bin"]
    finally:
        os.chdir(tmp_path)
        shutil.rmtree(tmp_path / "d", ignore_errors=True)


def _process(arguments: Sequence[str | bytes]) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mvc", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)


BAD = [
    *("../x", "/abs", "a/../../b", ".", "..", "", "-rf", ".mvc", ".MVC", "a\\b", "C:x", "CON"),
    *("aux.txt", "trailing.", "trailing ", "cr\r", "line\nbreak", "x" * 5000, "\udcff"),
    *("\u202egpj", "a\u0301"),
]
# People call metrics so, as in val/acc or mAP@.5:.95; they are no names of files.
METRICS = {*BAD[:5], *BAD[6:9], "C:x", "CON", "aux.txt", "trailing."}


def typed(*arguments: str) -> Outcome:
    done = mvc(*arguments)
    assert "Traceback" not in done.err
    assert "internal" not in done.err
    assert len(done.err) < 1500
    assert done.err.replace("\n", "").isprintable(), "nothing steers a terminal"
    return done


@pytest.mark.parametrize("name", BAD, ids=lambda name: ascii(name)[:12])
def test_what_is_no_name_is_refused_wherever_it_is_typed(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As a family, a tag, a metric or a ref it ends with status 2 or 4, and nothing changes."""
    monkeypatch.chdir(project.folder)
    (project.folder / "m.bin").write_bytes(b"other weights")
    before = snapshot(project.folder)
    for arguments in (
        ["add", "--", name, "m.bin"],
        ["tag", "net@v1", "--", name],
        ["add", "net", "m.bin", f"--tag={name}"],
        ["show", "--", f"{name}@v1"],
        ["show", "--", f"net@{name}"],
        ["rm", "--", f"net@{name}"],
        ["best", "net", "--", name],
    ):
        if arguments[0] == "best" and name in METRICS:
            continue
        done = typed(*arguments)
        assert done.status in (2, 4), (arguments, done)
        assert done.out == ""
        after = snapshot(project.folder)
        assert {path: after[path] for path in before if "/cache" not in path} == {
            path: before[path] for path in before if "/cache" not in path
        }, arguments


@pytest.mark.parametrize(
    "name", [*BAD[3:], "a b", "Net", "sub\x1b[2J"], ids=lambda n: ascii(n)[:12]
)
def test_a_folder_that_is_no_family_leads_nowhere(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Found among the families it is passed over, as fsck says; the others answer as ever."""
    if name in ("", ".", "..") or len(name) > 255 or "/" in name:
        return
    folder = project.folder / ".mvc/manifest" / name
    shutil.copytree(project.folder / ".mvc/manifest/net", folder)
    monkeypatch.chdir(project.folder)
    for arguments in (["list"], ["log"], ["status"], ["du"], ["search", "acc>0"]):
        assert typed(*arguments).status == 0, arguments
    checked = typed("fsck")
    assert checked.status == 0
    assert "is passed over: no family's folder is called so" in checked.err
    assert typed("show", "net@v1", "-q").out == "net/v1\n"
    assert typed("add", "net", str(project.folder.parent / "other.bin")).out == "net/v2\n"
    assert typed("gc", "--grace", "0").status == 0
    shutil.rmtree(folder)
    project.held["net/v2"] = b"other"
    whole(project)


@pytest.mark.parametrize("name", ["--output=-", "x\x1b[31m", "new\nline", "\udcff"])
def test_an_output_may_be_called_anything(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """``-o`` is the file that it names, in the folder where it was typed, and shown harmlessly."""
    monkeypatch.chdir(project.folder)
    done = typed("checkout", "net@v1", f"-o{name}")
    assert done.status == 0
    assert (project.folder / name).read_bytes() == project.held["net/v1"]
