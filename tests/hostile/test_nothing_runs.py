"""Nothing of a registry or a model is run, and no secret gets anywhere by itself."""

from __future__ import annotations

import io
import os
import pickle
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mvc import MvcWarning, lines
from mvc.registry.search import columns
from tests.cli.running import ROOT, mvc
from tests.support.faults import Project, confined, whole

LOOKS = [
    words.split()
    for words in (
        "list|log|status|show evil|show evil --tensors|show evil.pt|diff evil@v1 net@v1|"
        "search acc>0|du|fsck --full|path evil|checkout evil -o out.pt|repack|gc --grace 0|"
        "store info"
    ).split("|")
]


class Payload:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def of_torch(payload: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["pickle", "torch", "legacy", "npy"])
def test_a_model_that_is_a_program_is_never_run(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whatever is done with it, its payload does not run, and ``show`` says that loading would."""
    marker = tmp_path / "pwned"
    payload = pickle.dumps(Payload(marker), 2)
    begun: list[object] = [0x1950A86A20F9469CFC6C, 1001, {}]
    magic = b"".join(pickle.dumps(part, 2) for part in begun)
    array = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    data = {
        "pickle": payload,
        "torch": of_torch(payload),
        "legacy": magic + payload,
        "npy": array.ljust(127) + b"\n" + payload,
    }[kind]
    monkeypatch.chdir(project.folder)
    Path("evil.pt").write_bytes(data)
    assert mvc("add", "evil", "evil.pt").status == 0
    for arguments in LOOKS:
        done = mvc(*arguments)
        assert done.status in (0, 1, 4), (arguments, done)
        assert not marker.exists(), arguments
    assert "may run code" in mvc("show", "evil").out
    assert Path("out.pt").read_bytes() == data
    subprocess.run([sys.executable, "-c", "import pickle, sys; pickle.load(sys.stdin.buffer)"],
                   input=payload, check=False)  # fmt: skip
    assert marker.exists(), "the payload is one"


def test_settings_run_nothing_and_say_nothing(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys of other tools in ``config.yaml`` are kept, not followed, and shown to nobody."""
    marker = tmp_path / "pwned"
    config = project.folder / ".mvc/config.yaml"
    run = f"touch {marker}"
    keys: dict[str, lines.Value] = {
        "pager": run,
        "core": {"fsmonitor": run, "sshcommand": run},
        "hooks": {"add": run},
        "credentials": {"token": "s3cr3t"},
    }
    config.write_bytes(config.read_bytes() + lines.dumps(keys))
    (project.folder / ".mvc/hooks").mkdir()
    hook = project.folder / ".mvc/hooks/post-add"
    hook.write_text(f"#!/bin/sh\n{run}\n")
    hook.chmod(0o755)
    monkeypatch.chdir(project.folder)
    Path("m.bin").write_bytes(b"weights")
    said = ""
    for arguments in (
        ["add", "net", "m.bin", "-t", "prod"],
        *([*words, "--json"] for words in (["list"], ["status"], ["store", "info"], ["fsck"])),
        ["store", "move", "elsewhere"],
        ["checkout", "net", "-o", "out"],
        ["show", "nothing"],
    ):
        done = mvc(*arguments)
        said += done.out + done.err
        assert not marker.exists(), arguments
    assert "s3cr3t" not in said
    holders = [path for path in project.folder.rglob("*") if path.is_file()
               and b"s3cr3t" in path.read_bytes()]  # fmt: skip
    assert holders == [config], "it is where its owner put it"


def test_a_password_in_a_url_is_not_kept_for_ever(project: Project, tmp_path: Path) -> None:
    """Among parameters, lineage, labels and in a message it is left out, and that is said."""
    url = "https://anna:s3cr3t@hub.example/x?a=b"
    with pytest.warns(MvcWarning, match="a URL with a password, which is left out"):
        made = project.open().add(
            "net",
            tmp_path / "other.bin",
            params={"data": url, "deep": [{"er": url}], "time": "12:30", "at": "a@b.c"},
            lineage={"dataset": url},
            labels={"from": url},
            message=f"see {url}",
        )
    bare = "https://anna@hub.example/x?a=b"
    assert made.params == {"data": bare, "deep": [{"er": bare}], "time": "12:30", "at": "a@b.c"}
    assert (made.lineage["dataset"], made.labels) == (bare, {"from": bare})
    assert made.message == f"see {bare}"
    for path in project.folder.rglob("*"):
        assert not path.is_file() or b"s3cr3t" not in path.read_bytes(), path


def test_secrets_of_the_environment_stay_there(project: Project, tmp_path: Path) -> None:
    """Neither a record nor a failure holds what stands in a variable or on the command line."""
    Path(project.folder, "m.bin").write_bytes(b"weights")
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": "s3cr3t", "HF_TOKEN": "s3cr3t",
                   "PYTHONPATH": str(ROOT), "MVC_DEBUG": "1"}  # fmt: skip
    for arguments in (["add", "net", "m.bin"], ["add", "net", "gone.bin"], ["show", "net@v9"]):
        done = subprocess.run(
            [sys.executable, "-m", "mvc", *arguments], cwd=project.folder, env=environment,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert "s3cr3t" not in done.stdout + done.stderr
    for path in project.folder.rglob("*"):
        assert not path.is_file() or b"s3cr3t" not in path.read_bytes(), path


DATABASES = {
    "another's tables": "CREATE TABLE secrets (x); PRAGMA user_version = 1;",
    "views for tables": "CREATE VIEW own AS SELECT '{inode}' AS inode; "
    "CREATE VIEW families AS SELECT 1 AS id, 'net' AS folder, 0 AS stamp, 1 AS settled, '' AS last;"
    "CREATE VIEW versions AS SELECT 1 AS family, 1 AS number, 0 AS time;"
    "CREATE VIEW names AS SELECT 1 AS id, 'metrics.acc' AS name;"
    "CREATE VIEW facts AS SELECT 1 AS name, 1 AS family, 1 AS number, 0 AS place, x'ff' AS value;"
    "PRAGMA user_version = 1;",
    "an endless view": "CREATE TABLE own (inode TEXT); INSERT INTO own VALUES ('{inode}');"
    "CREATE VIEW families AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    " SELECT x AS id, 'f' || x AS folder, 0 AS stamp, 1 AS settled, '' AS last FROM n;"
    "PRAGMA user_version = 1;",
    "a newer version": "PRAGMA user_version = 99;",
}


@pytest.mark.parametrize("attack", DATABASES)
def test_a_query_index_that_is_a_trap_changes_no_answer(
    project: Project, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    """A database with other tables, views or triggers is passed over, or made anew, in time."""
    monkeypatch.setattr(columns, "SMALL", 0)
    project.open().search("acc > 0")
    index = project.open().place.query_index
    assert index is not None
    index.unlink(missing_ok=True)
    index.touch()
    with sqlite3.connect(index) as db:
        db.executescript(DATABASES[attack].replace("{inode}", str(index.stat().st_ino)))
    found = confined(lambda: [version.id for version in project.open().search("acc > 0.1")])
    assert found == "['net/v1']"
    whole(project)
