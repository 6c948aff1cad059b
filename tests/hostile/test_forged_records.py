"""Records and events that were made to do harm: one clear error each, at once, and no more."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mvc import Damaged, ModelRegistry, MvcError
from mvc.digest import digest_of
from mvc.registry import record as records
from mvc.registry.record import Artifact
from tests.support.fault_forger import IDENTITY, NOWHERE, TIME, put_record, record, sealed
from tests.support.faults import Project, bytes_of, confined

pytestmark = pytest.mark.filterwarnings("ignore::mvc.StoreWarning")

ARTIFACT = f'{{"kind": "file", "name": "m", "digest": "{NOWHERE}", "size": 1, "format": "opaque"}}'


def directory(*paths: str, files: object = None, size: int | None = None, **of_row: object) -> str:
    """Return the artifact of a directory of empty files, with ``of_row`` in each row."""
    rows = [
        {"path": path, "size": 0, "mode": "0644", "digest": str(EMPTY), **of_row} for path in paths
    ]
    text = "".join(f"0644 0 {EMPTY} {path}\n" for path in paths)
    values = {
        "kind": "directory",
        "name": "d",
        "digest": str(digest_of(text.encode())),
        "size": 0 if size is None else size,
        "format": "opaque",
        "files": len(paths) if files is None else files,
        "listing": rows,
    }
    return json.dumps({name: value for name, value in values.items() if value != "absent"})


EMPTY = digest_of(b"")
FIELDS = {
    "mvc": "0",
    "family": '"net"',
    "id": f'"{IDENTITY}"',
    "created": f'"{TIME}"',
    "artifact": ARTIFACT,
    "model": "{}",
    "metrics": "{}",
    "params": "{}",
    "lineage": "{}",
    "labels": "{}",
    "message": "null",
    "author": '"eve"',
}


def lines_with(**changed: str | None) -> bytes:
    """Return sealed lines of a record, with values as they are given; ``None`` leaves one out."""
    values = {**FIELDS, **changed}
    return sealed(
        "".join(f"{key}: {value}\n" for key, value in values.items() if value is not None)
    )


SOUND = lines_with()
ATTACKS: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(4096),
    "not UTF-8": sealed(b'mvc: 1\nfamily: "\xff\xfe"\n'),
    "no seal": SOUND[: SOUND.rindex(b"seal")],
    "seal of another": SOUND.replace(b'"eve"', b'"bob"'),
    "text behind the seal": SOUND + b"more: 1\n",
    "sealed twice": sealed(SOUND),
    "2 MiB": lines_with(message='"' + "x" * (2 << 20) + '"'),
    "100 000 brackets": lines_with(params="[" * 100_000 + "]" * 100_000),
    "100 000 open brackets": lines_with(params="[" * 100_000),
    "100 000 braces": lines_with(params='{"a":' * 100_000 + "1" + "}" * 100_000),
    "a field twice": SOUND.replace(b'author: "eve"\n', b'author: "eve"\nauthor: "bob"\n'),
    "a field twice, sealed": sealed(SOUND[: SOUND.rindex(b"seal")] + b'author: "bob"\n'),
    "a name twice": lines_with(labels='{"a": "1", "a": "2"}'),
    "an unknown field": sealed(SOUND[: SOUND.rindex(b"seal")] + b"run: 1\n"),
    "an alias bomb": lines_with(params='&a ["x"]', lineage="[*a, *a, *a, *a]"),
    "a Python object": lines_with(params='!!python/object/apply:os.system ["true"]'),
    "two documents": SOUND.replace(b"family:", b"---\nfamily:"),
    "CRLF": sealed(SOUND[: SOUND.rindex(b"seal")].replace(b"\n", b"\r\n")),
    "a byte order mark": sealed(b"\xef\xbb\xbf" + SOUND[: SOUND.rindex(b"seal")]),
    "a number without end": lines_with(params='{"n": ' + "9" * 500_000 + "}"),
    "NaN": lines_with(metrics='{"acc": NaN}'),
    "a metric that is a list": lines_with(metrics='{"acc": [1]}'),
    "metrics that are a list": lines_with(metrics="[1, 2]"),
    "a missing field": lines_with(artifact=None),
    "an artifact that is a number": lines_with(artifact="1"),
    "a negative size": lines_with(artifact=ARTIFACT.replace(": 1,", ": -1,")),
    "a size that is text": lines_with(artifact=ARTIFACT.replace(": 1,", ': "1",')),
    "a folder": lines_with(artifact=ARTIFACT.replace('"file"', '"device"')),
    "a file with files": lines_with(artifact=ARTIFACT.replace("}", ', "files": 1}')),
    "a file with a listing": lines_with(artifact=ARTIFACT.replace("}", ', "listing": []}')),
    "a verdict that is none": lines_with(
        artifact=ARTIFACT.replace("}", ', "safety": {"verdict": "fine", "globals": []}}')
    ),
    "a label without names": lines_with(
        artifact=ARTIFACT.replace("}", ', "safety": {"verdict": "other"}}')
    ),
    "a directory without files": lines_with(artifact=ARTIFACT.replace('"file"', '"directory"')),
    "a directory of none": lines_with(artifact=directory()),
    "a directory that leaves itself": lines_with(artifact=directory("../x")),
    "an absolute path": lines_with(artifact=directory("/etc/x")),
    "Data beside data": lines_with(artifact=directory("Data/a", "data/b")),
    "a file that is a folder": lines_with(artifact=directory("a", "a/b")),
    "hooks of git": lines_with(artifact=directory(".GIT/hooks/post-checkout")),
    "a directory that is another": lines_with(artifact=directory("a").replace('"a"', '"b"')),
    "files in another order": lines_with(artifact=directory("b", "a")),
    "a directory of more files": lines_with(artifact=directory("a", files=2)),
    "a directory of true files": lines_with(artifact=directory("a", files=True)),
    "a directory of other sizes": lines_with(artifact=directory("a", size=1)),
    "a setuid file": lines_with(artifact=directory("a", mode="4755")),
    "a mode that is a number": lines_with(artifact=directory("a", mode=420)),
    "a row with more": lines_with(artifact=directory("a", owner="root")),
    "a row that is a number": lines_with(
        artifact=directory("a").replace('[{"path"', '[1, {"path"')
    ),
    "a file of a negative size": lines_with(artifact=directory("a", size=-1)),
    "a digest of another kind": lines_with(artifact=ARTIFACT.replace("b3:", "md5:")),
    "a digest in capitals": lines_with(weights=f'"{str(NOWHERE).upper()}"'),
    "a time of another world": lines_with(created='"2026-99-99T99:99:99.000000Z"'),
    "a newer format": lines_with(mvc="99"),
    "a format that is no number": lines_with(mvc="true"),
}


def attempts(registry: ModelRegistry, ref: str) -> dict[str, Callable[[], object]]:
    """Return what one might do with a version."""
    other = registry.folder.parents[1] / "other.bin"
    return {
        "resolve": lambda: registry.resolve(ref),
        "show": lambda: registry.show(ref),
        "related": lambda: registry.related(ref),
        "checkout": lambda: registry.checkout(ref, registry.folder.parent / "out"),
        "tag": lambda: registry.tag(ref, "prod"),
        "rm": lambda: registry.rm(ref),
        "parent": lambda: registry.add("net", other, parents=[ref]),
    }


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_forged_record_is_one_clear_error(project: Project, attack: str) -> None:
    """A record that is not one is refused in a line by every command; other versions stay well."""
    path = put_record(project, ATTACKS[attack])
    for what, attempt in attempts(project.open(), "net@v2").items():
        with pytest.raises(MvcError) as raised:
            attempt()
        assert "net/v2" in raised.value.message, what
        assert "\n" not in raised.value.message
        assert len(raised.value.message) < 600, what
    registry = project.open()
    report = registry.fsck()
    assert ("record", "net/v2") in {(found.kind, found.object) for found in report.findings}
    assert bytes_of(registry, "net/v1") == project.held["net/v1"]
    assert registry.add("net", project.folder.parent / "other.bin").id == "net/v3"
    assert path.read_bytes() == ATTACKS[attack]


def test_forged_records_take_neither_time_nor_memory(project: Project) -> None:
    """All of them are refused within seconds and some tens of megabytes."""

    def refuse() -> int:
        return sum(_is_refused(data) for data in ATTACKS.values())

    assert confined(refuse, memory=100 << 20, seconds=10) == str(len(ATTACKS))


def _is_refused(data: bytes) -> bool:
    try:
        records.decode(data)
    except MvcError:
        return True
    return False


@pytest.mark.parametrize("size", [1 << 40, 1 << 63, 1 << 70])
def test_a_forged_size_takes_no_space(project: Project, size: int) -> None:
    """A record of a file of many terabytes is believed by nobody: its bytes are not there."""
    artifact = Artifact("file", "m", NOWHERE, size)
    put_record(project, records.encode(record(artifact=artifact)))
    registry = project.open()
    assert registry.resolve("net@v2").artifact.size == size
    with pytest.raises(Damaged):
        registry.checkout("net@v2", project.folder / "out")
    assert not registry.fsck().ok
    assert registry.du().families


NAMES = ["../x", "/tmp/x", "a/../../x", ".", "..", "", "a\\..\\x", "a\0b", "sub/x"]


@pytest.mark.parametrize("name", NAMES)
def test_a_forged_name_leads_nowhere(project: Project, outside: Path, name: str) -> None:
    """A file is checked out to its stored name only if that is one plain component."""
    into = outside / "into"
    into.mkdir()
    before = {path: os.lstat(path).st_mtime_ns for path in outside.rglob("*")}
    good = project.open().resolve("net@v1").artifact
    artifact = Artifact("file", name, good.digest, good.size)
    put_record(project, records.encode(record(artifact=artifact)))
    with pytest.raises(MvcError) as raised:
        project.open().checkout("net@v2", into)
    assert "\n" not in raised.value.message
    assert {path: os.lstat(path).st_mtime_ns for path in outside.rglob("*")} == before
    out = project.open().checkout("net@v2", into / "named")
    assert out.path.read_bytes() == project.held["net/v1"]


@pytest.mark.parametrize("name", ["line\nbreak", "\x1b[31mred", "-rf", "~", "$(x)", "CON", "a:b"])
def test_an_odd_name_stays_in_its_folder(project: Project, tmp_path: Path, name: str) -> None:
    """A name that only looks dangerous is refused, or is a file in the folder that was named."""
    into = tmp_path / "into"
    into.mkdir()
    good = project.open().resolve("net@v1").artifact
    artifact = Artifact("file", name, good.digest, good.size)
    put_record(project, records.encode(record(artifact=artifact)))
    before = sorted(tmp_path.iterdir())
    try:
        project.open().checkout("net@v2", into)
    except MvcError:
        assert list(into.iterdir()) == []
    else:
        assert [path.name for path in into.iterdir()] == [name]
    assert sorted(tmp_path.iterdir()) == before


EVENT = 'mvc: 1\nfamily: "net"\nid: "{id}"\ncreated: "{time}"\nevent: {event}\nmessage: null\n'
TAGGED = (
    f'{{"kind": "tagged", "tag": "prod", "version": "v1", "record": "{NOWHERE}", "undoes": null}}'
)


def event(change: str, form: str = EVENT) -> bytes:
    return sealed(form.format(id=IDENTITY, time=TIME, event=change) + 'author: "eve"\n')


EVENTS: dict[str, bytes] = {
    "empty": b"",
    "deep": event("[" * 100_000),
    "2 MiB": event('"' + "x" * (2 << 20) + '"'),
    "an unknown kind": event('{"kind": "exploded"}'),
    "a name twice": event(TAGGED.replace('"undoes"', '"tag": "x", "undoes"')),
    "a version that is a number": event(TAGGED.replace('"v1"', "1")),
    "version 0": event(TAGGED.replace('"v1"', '"v0"')),
    "a tag that is a list": event(TAGGED.replace('"prod"', '["prod"]')),
    "a kind that is a list": event('{"kind": ["tagged"]}'),
    "a digest cut off": event(TAGGED.replace(str(NOWHERE), str(NOWHERE)[:20])),
    "an unknown mode": event('{"kind": "best", "metric": "acc", "mode": "sideways"}'),
    "a newer format": event(TAGGED, EVENT.replace("mvc: 1", "mvc: 9")),
}


@pytest.mark.parametrize("attack", EVENTS)
def test_a_forged_event_is_one_clear_error(project: Project, attack: str) -> None:
    """An event that is not one is named by whatever needs it, and changes nothing."""
    folder = project.folder / ".mvc" / "manifest" / "net" / "events"
    folder.mkdir()
    (folder / "00000001.yaml").write_bytes(EVENTS[attack])
    registry = project.open()
    for attempt in (
        lambda: registry.resolve("net@prod"),
        lambda: registry.tag("net@v1", "prod"),
        lambda: registry.rollback("net@prod"),
        lambda: registry.rm("net@v1"),
    ):
        with pytest.raises(MvcError) as raised:
            attempt()
        assert "event 1" in raised.value.message
        assert "\n" not in raised.value.message
    report = registry.fsck()
    assert [found.kind for found in report.findings] == ["event"]
    assert (folder / "00000001.yaml").read_bytes() == EVENTS[attack]
    assert len(list(folder.iterdir())) == 1
