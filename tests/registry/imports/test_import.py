"""What was imported is a version that says where it came from, and nothing is fetched twice."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mvc.errors import Conflict, MvcError, MvcWarning, NotFound, UsageError
from mvc.registry.intake.source import SourceFile
from tests.registry.imports.conftest import BODY
from tests.support.file_server import Manner, Server
from tests.support.registry_builders import Project, files_in

ROOT = Path(__file__).parents[3]
SHA256 = hashlib.sha256(BODY).hexdigest()


def typed(project: Project, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Begin ``mvc import`` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "mvc", "import", *arguments],
        cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def until(holds: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_url_becomes_a_version_that_says_where_it_came_from(
    project: Project, server: Server
) -> None:
    """The bytes are those of the server; lineage has address, state, digest and time."""
    done = project.registry().import_(f"{server.url}/nets/resnet18-f37072fd.pth", tags=["base"])
    assert (done.id, done.new, done.received, done.tags) == (
        "resnet18/v1",
        True,
        len(BODY),
        ("base",),
    )
    assert done.path.relative_to(project.folder).parts[0] == "pretrained_models"
    assert project.bytes_of("resnet18") == BODY
    imported = dict(project.registry().resolve("resnet18@base").lineage["imported"])
    downloaded = imported.pop("downloaded")
    assert imported == {
        "url": f"{server.url}/nets/resnet18-f37072fd.pth",
        "etag": '"one"',
        "sha256": SHA256,
    }
    assert downloaded[:10] <= done.created[:10]


def test_processes_that_import_the_same_at_once_make_one_version(
    project: Project, server: Server
) -> None:
    """Over a connection that breaks off, each byte is sent once and all print the same id."""
    project.registry().init()
    server.manners = [Manner(cut=100_000)]
    started = [typed(project, f"{server.url}/m.pt") for _ in range(4)]
    said = [process.communicate(timeout=60) for process in started]
    assert [out for out, _ in said] == ["m/v1\n"] * 4, said
    assert sum("nothing changed since m/v1" in told for _, told in said) == 3
    assert (server.sent, project.registry().list("m")) == (len(BODY), ["v1"])


@pytest.mark.parametrize("when", ["before", "while"])
def test_what_is_deleted_before_it_is_a_version_is_told(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Who empties pretrained_models while a file of it is added is told what to do."""
    check = SourceFile.check_unchanged
    opened = SourceFile.__init__

    def deleted() -> None:
        shutil.rmtree(project.folder / "pretrained_models", ignore_errors=True)

    def opening(source: SourceFile, path: Path) -> None:
        deleted()
        opened(source, path)

    def checked(source: SourceFile) -> None:
        deleted()
        check(source)

    with monkeypatch.context() as patch:
        if when == "before":
            patch.setattr(SourceFile, "__init__", opening)
        else:
            patch.setattr(SourceFile, "check_unchanged", checked)
        with pytest.raises(Conflict, match=r"'.*m.pt' was deleted before it was added"):
            project.registry().import_(f"{server.url}/m.pt")
    assert project.registry().import_(f"{server.url}/m.pt").new


def test_the_same_again_is_no_new_version(project: Project, server: Server) -> None:
    """A set-up that runs again finds its version, also when others came after it."""
    first = project.registry().import_(f"{server.url}/m.pt", "net", {"acc": 0.9})
    project.file(b"tuned", "tuned.pt")
    project.registry().add("net", project.folder / "tuned.pt", {"acc": 0.95})
    again = project.registry().import_(f"{server.url}/m.pt", "net", {"acc": 0.9}, tags=["base"])
    assert (again.id, again.new, again.received, again.stored) == (first.id, False, 0, 0)
    assert server.sent == len(BODY)
    other = project.registry().import_(f"{server.url}/m.pt", "net", {"acc": 0.91})
    assert (other.id, other.new, other.received, other.stored) == ("net/v3", True, 0, 0)


def test_what_the_store_has_is_not_downloaded_again(project: Project, server: Server) -> None:
    """Without the file in pretrained_models, that of the version is what is there; also offline."""
    url = f"{server.url}/m.pt"
    project.registry().import_(url)
    shutil.rmtree(project.folder / "pretrained_models")
    again = project.registry().import_(url)
    assert (again.id, again.new, again.received) == ("m/v1", False, 0)
    assert project.registry().import_(url, "other", offline=True).received == 0
    assert project.registry().import_(url, "third", sha256=SHA256).received == 0
    assert (len(server.asked), server.sent) == (2, len(BODY))
    server.body, server.etag = BODY[1:], '"two"'
    assert project.registry().import_(url).id == "m/v2"


def test_what_the_store_lost_is_downloaded_again(project: Project, server: Server) -> None:
    """An import brings back what is damaged in the store."""
    url = f"{server.url}/m.pt"
    project.registry().import_(url)
    shutil.rmtree(project.folder / "pretrained_models")
    (pack,) = project.packs
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0xFF
    pack.write_bytes(data)
    assert project.registry().import_(url, "other").received == len(BODY)
    assert project.bytes_of("other") == BODY


def test_a_file_that_changed_there_is_the_next_version(project: Project, server: Server) -> None:
    """The server is asked each time, and what is new there becomes a version."""
    project.registry().import_(f"{server.url}/m.pt")
    server.body, server.etag = BODY[1:], '"two"'
    done = project.registry().import_(f"{server.url}/m.pt")
    assert (done.id, done.received) == ("m/v2", len(BODY) - 1)


def test_what_could_not_be_added_is_not_downloaded(project: Project, server: Server) -> None:
    """A wrong family, metric, tag, digest or parent is told before a byte has come."""
    url = f"{server.url}/m.pt"
    project.registry().init()
    wrong: list[tuple[type[MvcError], dict[str, Any]]] = [
        (UsageError, {"name": "a b"}),
        (UsageError, {"metrics": {"acc": "much"}}),
        (UsageError, {"tags": ["latest"]}),
        (UsageError, {"sha256": "abc"}),
        (UsageError, {"revision": "main"}),
        (UsageError, {"include": ["*.pt"]}),
        (NotFound, {"parents": ["net@v9"]}),
    ]
    for error, options in wrong:
        with pytest.raises(error):
            project.registry().import_(url, **options)
    assert server.asked == []


def test_offline_takes_what_is_cached_and_nothing_else(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ``offline`` nor MVC_OFFLINE asks anybody."""
    url = f"{server.url}/m.pt"
    with pytest.raises(NotFound, match="is not cached, and may not be downloaded offline"):
        project.registry().import_(url, offline=True)
    project.registry().import_(url)
    monkeypatch.setenv("MVC_OFFLINE", "1")
    assert project.registry().import_(url, "other").id == "other/v1"
    with pytest.raises(NotFound, match="what else was in its address is never noted"):
        project.registry().import_(f"{url}?token=x", "third")
    assert len(server.asked) == 1


def test_without_a_network_what_is_cached_is_taken(project: Project, server: Server) -> None:
    """Where the server cannot be asked, a warning says which state is taken."""
    url = f"{server.url}/m.pt"
    project.registry().import_(url)
    server.always = Manner(status=503)
    with pytest.warns(MvcWarning, match=r"what was downloaded on \d{4}-\d\d-\d\d is taken"):
        assert not project.registry().import_(url).new


def test_no_secret_of_an_address_is_kept_or_shown(project: Project, server: Server) -> None:
    """The server gets login and token; no file of ours and no line has them."""
    url = server.url.replace("//", "//anna:hunter2@") + "/m.pt?id=7&X-Amz-Signature=hunter2"
    project.registry().init()
    done = typed(project, url)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    assert server.asked[0][0] == "/m.pt?id=7&X-Amz-Signature=hunter2"
    assert server.asked[0][1]["Authorization"]
    everything = b"".join(files_in(project.folder).values())
    assert b"hunter2" not in everything
    assert b"?id=7" in everything
    assert "hunter2" not in out + err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_import_that_was_ended_goes_on_the_next_time(
    project: Project, server: Server, number: signal.Signals
) -> None:
    """After kill -9, Ctrl-C or a termination only the rest is sent."""
    project.registry().init()
    server.manners = [Manner(stall=200_000)]
    url = f"{server.url}/m.pt"
    process = typed(project, url)
    try:
        until(lambda: [part.stat().st_size for part in _parts(project)] == [200_000])
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    expected = {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}
    assert process.returncode == expected[number]
    server.sent_since()
    assert project.registry().import_(url).received == len(BODY) - 200_000
    assert server.sent == len(BODY) - 200_000
    assert project.bytes_of("m") == BODY


def _parts(project: Project) -> list[Path]:
    return list(project.folder.glob("pretrained_models/*/download.part"))


def test_a_full_disk_keeps_what_has_come(project: Project, server: Server) -> None:
    """Where no more can be written, one line says so, and the next import goes on there."""
    project.registry().init()
    url, most = f"{server.url}/m.pt", 128 << 10

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    process = typed(project, url, preexec_fn=limited)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 8
    assert "error: " in err
    assert "Traceback" not in err
    (part,) = _parts(project)
    size = part.stat().st_size
    assert 0 < size <= most
    server.sent_since()
    assert project.registry().import_(url).received == server.sent == len(BODY) - size


def test_a_source_that_is_none_is_told_what_was_meant(project: Project, server: Server) -> None:
    """A file that is here, and a word that leads nowhere, are answered with what to type."""
    project.file(b"weights", "here.pt")
    with pytest.raises(UsageError, match="is here already") as raised:
        project.registry().import_(str(project.folder / "here.pt"))
    assert (raised.value.hint or "").startswith("mvc add FAMILY ")
    with pytest.raises(UsageError, match="'resnet18' is no source that mvc knows"):
        project.registry().import_("resnet18")
    for typed, meant in (
        ("anna/bert", "hf:anna/bert"),
        ("example.org/m.pt", "https://example.org/m.pt"),
        ("localhost:80/nets/m.pt", "https://localhost:80/nets/m.pt"),
    ):
        with pytest.raises(UsageError, match="is no source that mvc knows") as raised:
            project.registry().import_(typed)
        assert raised.value.hint == f"mvc import {meant}"
    with pytest.raises(UsageError, match="which family"):
        project.registry().import_(f"{server.url}/-.pt")
    assert server.asked == []
