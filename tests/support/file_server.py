"""A real HTTP server on this machine that serves one file, well or in all the ways to do it badly.

``Server.body`` is what it serves at any path. What it does wrong is a list
of ``Manner``, one for each request that is to come; after them it behaves.
It keeps what was asked and how many bytes of the body it sent. Asked as a
proxy, it is any host, and refuses for those of ``refusing``.

Public names: ``Manner``, ``Server``, ``serving``.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Manner:
    """How one request is answered; all as it should be, if nothing is said.

    ``cut`` closes the connection after so many bytes of the body, ``stall``
    leaves it open there; ``drip`` sends a byte each so many seconds; a range
    begins ``shift`` bytes beside what was asked for.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: int | None = None
    drip: float | None = None
    length: int | None = None
    ranges: bool = True
    conditions: bool = True
    shift: int = 0
    chunked: bool = False
    unsized: bool = False


@dataclass
class Server:
    """What is served and how, and what was asked for."""

    body: bytes = b""
    etag: str | None = '"one"'
    last_modified: str | None = None
    content_type: str = "application/octet-stream"
    manners: list[Manner] = field(default_factory=list)
    always: Manner = field(default_factory=Manner)
    refusing: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, Message]] = field(default_factory=list)
    sent: int = 0
    url: str = ""
    closing: threading.Event = field(default_factory=threading.Event)

    def sent_since(self) -> int:
        """Return how many bytes of the body were sent since this was asked last."""
        sent, self.sent = self.sent, 0
        return sent


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, served: Server) -> None:
        self.served = served
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        served = self.server.served
        served.asked.append((self.path, self.headers))
        manner = served.manners.pop(0) if served.manners else served.always
        host = urlsplit(self.path).hostname  # as a proxy is asked
        if host in served.refusing:
            manner = Manner(status=served.refusing[host])
        self.close_connection = True
        if manner.status is not None:
            self._head(manner.status, {"Content-Length": "0", **manner.headers})
        elif manner.conditions and self._is_unchanged(served):
            self._head(304, {})
        else:
            self._file(served, manner)

    def _file(self, served: Server, manner: Manner) -> None:
        start = self._start(served) if manner.ranges else None
        first = 0 if start is None else start + manner.shift
        body = served.body[first:]
        headers = {"Content-Type": served.content_type, **self._validators(served)}
        if start is not None:
            headers["Content-Range"] = f"bytes {first}-{len(served.body) - 1}/{len(served.body)}"
        if manner.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif not manner.unsized:
            headers["Content-Length"] = str(manner.length or len(body))
        self._head(200 if start is None else 206, {**headers, **manner.headers})
        self._send(served, manner, body)

    def _is_unchanged(self, served: Server) -> bool:
        asked = self.headers.get("If-None-Match"), self.headers.get("If-Modified-Since")
        return (
            asked[0] == served.etag
            if asked[0]
            else bool(asked[1]) and asked[1] == served.last_modified
        )

    def _start(self, served: Server) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if match is None or (condition and condition not in (served.etag, served.last_modified)):
            return None
        return int(match[1]) if int(match[1]) < len(served.body) else None

    def _validators(self, served: Server) -> dict[str, str]:
        both = {"ETag": served.etag, "Last-Modified": served.last_modified}
        return {name: value for name, value in both.items() if value is not None}

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, served: Server, manner: Manner, body: bytes) -> None:
        end = min(each for each in (manner.cut, manner.stall, len(body)) if each is not None)
        step = 1 if manner.drip else 64 << 10
        for offset in range(0, end, step):
            piece = body[offset : min(offset + step, end)]
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if manner.chunked else piece
            try:
                self.wfile.write(framed)
                self.wfile.flush()
            except OSError:  # the client has had enough
                return
            served.sent += len(piece)
            if manner.drip:
                time.sleep(manner.drip)
        if manner.stall is not None:
            served.closing.wait(60)
        elif manner.chunked and manner.cut is None:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the test says what came."""


@contextmanager
def serving(body: bytes = b"", certificate: Path | None = None) -> Iterator[Server]:
    """Serve ``body`` until the end of the block; with a certificate (and its key), encrypted."""
    served = Server(body)
    with _Http(served) as http:
        served.url = f"http://127.0.0.1:{http.server_address[1]}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            http.socket = context.wrap_socket(http.socket, server_side=True)
            served.url = served.url.replace("http:", "https:")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            served.closing.set()
            http.shutdown()
            thread.join()
