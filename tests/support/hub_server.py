"""A hub on this machine that speaks as much of the Hub's API as its own client asks.

It has repositories with branches; a branch is a commit, a commit is files.
Files that end in ``.safetensors`` or ``.bin`` are LFS files, known by their
SHA-256; others by git's digest. Requests, and the bytes of files sent, are
counted; a repository may be gated, and a file may break
off, or stop without an end.

Public names: ``Hub``, ``serving_hub``, ``commit_of``.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

LFS = (".safetensors", ".bin")


def commit_of(files: Mapping[str, bytes]) -> str:
    """Return the commit that is these files."""
    digests = sorted((path, git_digest(data)) for path, data in files.items())
    return hashlib.sha1(repr(digests).encode()).hexdigest()


def git_digest(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """What is published: ``repositories[name][branch]`` are files by path."""

    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    status: int | None = None
    status_of_files: int | None = None
    cut: int | None = None
    stall: int | None = None
    closing: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    sent: int = 0
    requests: list[str] = field(default_factory=list)

    def files(self, name: str, revision: str) -> dict[str, bytes] | None:
        branches = self.repositories.get(name, {})
        by_commit = {commit_of(files): files for files in branches.values()}
        return branches.get(revision) or by_commit.get(revision)


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.server.hub, unquote(self.path.partition("?")[0])
        hub.requests.append(path)
        api = re.fullmatch(
            r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?", path
        )  # the two questions a client has
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = api or file
        name = found[1] if found else ""
        revision = (api[3] if api else file[2] if file else None) or "main"
        files = hub.files(name, revision)
        if hub.status is not None:
            self._send(hub.status, b"", {})
        elif file and hub.status_of_files is not None:
            self._send(hub.status_of_files, b"", {})
        elif name in hub.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif name not in hub.repositories:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif files is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif api:
            told = _tree(files) if api[2] == "tree" else _info(name, files)
            self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        elif file and file[3] in files:
            self._file(files[file[3]], file[3], commit_of(files))
        else:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _file(self, data: bytes, name: str, commit: str) -> None:
        headers = {"ETag": f'"{git_digest(data)}"', "X-Repo-Commit": commit}
        if name.endswith(LFS):
            headers |= {"X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
                        "X-Linked-Size": str(len(data))}  # fmt: skip
        hub = self.server.hub
        start = re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range", ""))
        offset = int(start[1]) if start else 0
        if offset:
            headers["Content-Range"] = f"bytes {offset}-{len(data) - 1}/{len(data)}"
        if self.command == "GET":
            hub.sent += len(data[offset:][: hub.cut])
        self._send(206 if offset else 200, data[offset:], headers, hub.cut)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            stall = self.server.hub.stall
            if stall is not None and len(body) > stall:
                self.wfile.write(body[:stall])
                self.server.hub.closing.wait(120)
                return
            self.wfile.write(body[:cut])
            self.close_connection = cut is not None

    def log_message(self, *_: object) -> None:
        """Say nothing: the test says what came."""


def _info(name: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    siblings = [
        {"rfilename": path, "size": len(data), "blobId": git_digest(data), **_lfs(path, data)}
        for path, data in files.items()
    ]
    return {"id": name, "sha": commit_of(files), "siblings": siblings}


def _tree(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"type": "file", "path": path, "size": len(data), "oid": git_digest(data)}
        | ({"lfs": {**_lfs(path, data)["lfs"], "oid": hashlib.sha256(data).hexdigest()}}
           if path.endswith(LFS) else {})
        for path, data in files.items()
    ]  # fmt: skip


def _lfs(path: str, data: bytes) -> dict[str, Any]:
    if not path.endswith(LFS):
        return {}
    digest = hashlib.sha256(data).hexdigest()
    return {"lfs": {"sha256": digest, "size": len(data), "pointerSize": 130}}


@contextmanager
def serving_hub() -> Iterator[Hub]:
    """Serve an empty hub until the end of the block."""
    hub = Hub()
    with _Http(hub) as http:
        hub.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.closing.set()
            http.shutdown()
            thread.join()
