"""A real HTTP server on this machine that serves a file well or badly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import pytest

Manner = Literal["whole", "cut", "silent", "stalled", "refused"]


@dataclass
class Publisher:
    """One file at any path of ``url``, served in the manner set, counting requests."""

    body: bytes = b""
    manner: Manner = "whole"
    requests: int = 0
    url: str = ""
    closing: threading.Event = field(default_factory=threading.Event)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        publisher = self.server.publisher
        publisher.requests += 1
        if publisher.manner == "silent":
            publisher.closing.wait()
            return
        if publisher.manner == "refused":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(publisher.body)))
        self.end_headers()
        whole = publisher.manner == "whole"
        self.wfile.write(publisher.body if whole else publisher.body[: len(publisher.body) // 2])
        self.wfile.flush()
        if publisher.manner == "stalled":
            publisher.closing.wait()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the test says what came."""


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """Serve for one test; a proxy that the machine may have is gone round."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    publisher = Publisher()
    with _Server(publisher) as server:
        publisher.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield publisher
        publisher.closing.set()
        server.shutdown()
        thread.join()
