"""A cache made by ``huggingface_hub``: its snapshots, all links into blobs, are versions."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.registry.test_folders import CONFIG, shard, stored, tensors_of
from tests.support.registry_builders import Project, files_in

hub = pytest.importorskip("huggingface_hub")

REPOSITORY = "anna/bert"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(ThreadingHTTPServer):
    """A hub with one repository, as far as a download asks it."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: _Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        resolve = f"/{REPOSITORY}/resolve/{COMMIT}/"
        if path.startswith(f"/api/models/{REPOSITORY}"):
            siblings = [{"rfilename": name} for name in self.server.files]
            info: dict[str, Any] = {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}
            if "/tree/" in path:
                info = [
                    {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                    for name, data in self.server.files.items()
                ]  # type: ignore[assignment]
            self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        elif path.startswith(resolve) and path.removeprefix(resolve) in self.server.files:
            data = self.server.files[path.removeprefix(resolve)]
            self._send(200, data, {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": COMMIT})
        else:
            self._send(404, b"", {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        print(self.command, self.path)


def _etag(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.fixture
def snapshot(project: Project, tmp_path: Path) -> Iterator[Path]:
    """A snapshot as the hub's own library makes it, beside the folder that was served."""
    folder = shard(project.folder / "bert", tensors_of(4), 2)
    (folder / "onnx").mkdir()
    (folder / "onnx/config.json").write_bytes(CONFIG)
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    server = _Hub(files_in(folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        found = hub.snapshot_download(
            REPOSITORY, endpoint=server.url, cache_dir=tmp_path / "hub", token=False
        )
        yield Path(found)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_snapshot_is_the_version_that_its_copy_is(project: Project, snapshot: Path) -> None:
    """Links into blobs are read through; nothing is stored twice, and no shard lacks."""
    assert all(path.is_symlink() for path in snapshot.rglob("*") if not path.is_dir())
    copied = project.registry().add("bert", project.folder / "bert")
    added = project.registry().add("bert", snapshot)
    assert added.artifact.name == COMMIT
    assert added.artifact.digest == copied.artifact.digest
    assert (added.stored, added.same_bytes) == (0, "bert/v1")
    assert added.weights == copied.weights
    assert added.notes == ()
    assert stored(project, added.id) == files_in(project.folder / "bert")
    out = project.registry().checkout("bert", project.folder / "out").path
    assert files_in(out) == files_in(project.folder / "bert")
    assert not any(path.is_symlink() for path in out.rglob("*"))


def test_a_repository_in_the_cache_is_a_folder_too(project: Project, snapshot: Path) -> None:
    """It holds blobs beside the links to them, which are stored once."""
    folder = snapshot.parents[1]
    assert folder.name == "models--anna--bert"
    added = project.registry().add("bert", folder)
    assert f"snapshots/{COMMIT}/config.json" in stored(project, added.id)


def test_a_snapshot_that_lost_a_blob_is_refused(project: Project, snapshot: Path) -> None:
    """A cache that was cleaned leaves links that lead nowhere: no version lacks a shard."""
    from mvc import NotFound

    os.unlink((snapshot / "onnx/config.json").resolve())
    with pytest.raises(NotFound, match="which is not there"):
        project.registry().add("bert", snapshot)
    assert project.registry().list() == []
