"""The label of what loading runs: in the record, and as a reason to refuse."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from mvc import Refused
from mvc.registry import record as records
from mvc.verdict import MAX_LISTED, Safety, Verdict
from tests.support.registry_builders import Project, files_in

EVIL = b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R."
ARRAYS = pickle.dumps({"w": np.ones(3)}, 2)
PLAIN = pickle.dumps({"n": 1}, 2)


def safety_of(project: Project, ref: str) -> object:
    return project.registry().get(ref)["artifact"].get("safety")


def test_a_version_says_what_loading_it_runs(project: Project) -> None:
    """The verdict and the names are in the record and in what every command returns."""
    project.add(PLAIN)
    project.add(ARRAYS)
    project.add(EVIL)
    project.add(b"\x80\x02}\xff")
    project.add(b"no model")
    assert [safety_of(project, f"net@v{number}") for number in range(1, 6)] == [
        {"verdict": "tensors", "globals": []},
        {"verdict": "numpy", "globals": []},
        {"verdict": "other", "globals": ["os.system"]},
        {"verdict": "unparseable", "globals": []},
        None,
    ]
    assert b'"safety"' not in project.record(5).read_bytes()
    assert records.decode(project.record(3).read_bytes()).artifact.safety == Safety(
        Verdict.OTHER, ("os.system",)
    )


@pytest.mark.parametrize("data", [EVIL, b"\x80\x02}\xff"])
def test_code_is_refused_on_request_and_nothing_stays(project: Project, data: bytes) -> None:
    """With ``refuse_code`` the last two verdicts store nothing: no version, no byte, no staging."""
    project.registry().init()
    before = files_in(project.mvc)
    path = project.file(data)
    with pytest.raises(Refused, match=r"'model\.bin' may run code") as refused:
        project.registry().register("net", path, refuse_code=True)
    assert refused.value.status == 1
    after = files_in(project.mvc)
    assert {name for name in after if not name.startswith("cache/")} == {
        name for name in before if not name.startswith("cache/")
    }
    assert project.registry().list() == []
    project.add(data)
    with pytest.raises(Refused):
        project.registry().add("other", from_version="net@v1", refuse_code=True)


@pytest.mark.parametrize("data", [PLAIN, ARRAYS, b"no model", b""])
def test_what_is_harmless_or_unknown_is_not_refused(project: Project, data: bytes) -> None:
    """``refuse_code`` lets through tensors, arrays, and what mvc cannot judge."""
    assert project.registry().register("net", project.file(data), refuse_code=True) == "net/v1"


def test_a_folder_is_as_bad_as_its_worst_file(project: Project, tmp_path: Path) -> None:
    """The label of a folder is the worst of its files', with the names of all; Python is code."""
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    registry = project.registry()
    assert registry.add("net", folder).artifact.safety is None
    (folder / "a.bin").write_bytes(ARRAYS)
    assert registry.add("net", folder).artifact.safety == Safety(Verdict.NUMPY)
    (folder / "b.bin").write_bytes(EVIL)
    (folder / "modeling.py").write_bytes(b"import os\n")
    found = Safety(Verdict.OTHER, ("Python code", "os.system"))
    assert registry.add("net", folder).artifact.safety == found
    (folder / "c.bin").write_bytes(b"\x80\x02cm\nf\n)R\xff")
    with pytest.raises(Refused, match=r"cannot read: Python code, m\.f, os\.system"):
        registry.add("net", folder, refuse_code=True)


def test_many_and_odd_names_are_cut(project: Project) -> None:
    """A record lists at most 64 names of 100 characters, without what steers a terminal."""
    names = [f"m{number:03}" for number in range(100)]
    calls = b"".join(f"c{name}\nf\n0".encode() for name in names)
    odd = "\x1b[2J\ud800".encode("utf-8", "surrogatepass") + b"x" * 200
    project.add(b"\x80\x02" + calls + b"ca" + odd + b"\nf\n0N.")
    safety = project.registry().resolve("net").artifact.safety
    assert safety is not None
    assert (len(safety.globals), safety.more) == (MAX_LISTED, 101 - MAX_LISTED)
    assert safety.globals[0].startswith("a\\x1b[2J\\ud800xxx")
    assert all(len(name) <= 100 for name in safety.globals)
    assert str(safety).endswith("and 95 more")


def test_the_label_is_no_change(project: Project) -> None:
    """A label that a newer mvc would give differently does not make ``--if-changed`` add."""
    project.add(PLAIN)
    record = project.record(1)
    decoded = records.decode(record.read_bytes())
    assert decoded.artifact.safety is not None
    record.chmod(0o644)
    older = records.encode(decoded).replace(
        b', "safety": {"verdict": "tensors", "globals": []}', b""
    )
    body = older[: older.rindex(b"seal:")]
    from mvc.digest import digest_of

    record.write_bytes(body + f'seal: "{digest_of(body)}"\n'.encode())
    registry = project.registry()
    assert registry.resolve("net").artifact.safety is None
    added = registry.add("net", project.file(PLAIN), if_changed=True)
    assert (added.new, added.id) == (False, "net/v1")
