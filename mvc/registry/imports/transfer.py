"""Transfer: one file on its way here, in as many pieces as it takes.

The part on disk, what it is a part of and its digest so far are kept in
step. Each attempt asks for what is missing, on the condition that it is still
the same file, and believes of the reply only what fits.

Public names: ``Wanted``, ``Downloaded``, ``Transfer``.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, replace
from email.message import Message

from mvc import environment, fileio, progress
from mvc.errors import MvcError, MvcWarning, RemoteFailed, warn
from mvc.fileio import Steps
from mvc.formats.broken import HEAD_SIZE, is_web_page
from mvc.partfile import PartFile
from mvc.registry.imports import cached as cache
from mvc.registry.imports.address import Address, safe_name
from mvc.registry.imports.cached import Cached, Note, Slot
from mvc.registry.imports.request import Passing, Reply, ask
from mvc.registry.sealed import now

# A transfer slower than this, in bytes a second over so many seconds, is stuck.
SLOWEST, STUCK = 1 << 10, 30.0
SPACE_BESIDE = 1 << 20
# Where a file is whose page has ``/blob/`` in its address.
FILES_AT = {"huggingface.co": "/resolve/", "github.com": "/raw/"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The SHA-256 that a file must have, or how that begins, and who says so."""

    sha256: str
    said_by: str


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A whole file in the cache, and how many bytes of it came just now."""

    cached: Cached
    received: int = 0


class Transfer:
    """A file on its way: its part, what that is a part of, and the digest so far."""

    def __init__(
        self,
        address: Address,
        slot: Slot,
        part: PartFile,
        have: Cached | None,
        wanted: Wanted | None,
    ) -> None:
        self._address, self._slot, self._part = address, slot, part
        self._have, self._wanted = have, wanted
        self.received = 0
        self._pieced = False
        self._digest = hashlib.sha256()
        self._note = slot.part_note() or Note(address.shown, "")
        if not self._may_go_on():
            self._begin(self._note)
        for offset in range(0, part.size, cache.BLOCK):
            self._digest.update(part.read(offset, cache.BLOCK))
        self._pieced = part.size > 0

    def _may_go_on(self) -> bool:
        """Say whether what the part holds is believed.

        After a power cut it may hold anything, and without a digest nobody would know.
        """
        whole = self._note.size is None or self._part.size <= self._note.size
        same_run = self._note.boot == environment.boot()
        known = self._note.validator is not None
        return (
            whole and bool(self._note.name) and (self._wanted is not None or (same_run and known))
        )

    def _begin(self, note: Note) -> None:
        """Give up what has come, and note what comes now."""
        self._part.empty()
        self._digest = hashlib.sha256()
        self._pieced = False
        self._note = note

    @property
    def size(self) -> int:
        """How many bytes of it are here."""
        return self._part.size

    @property
    def _is_complete(self) -> bool:
        return self._part.size > 0 and self._part.size == self._note.size

    def attempt(self) -> None:
        """Ask once, and take what comes; afterwards the part is whole, or not needed.

        Raises:
            Passing: It is not whole, and asking again may help.
            RemoteFailed: It cannot be had.
        """
        if self._is_complete and self._wanted is not None:
            return
        with ask(self._address, self._conditions()) as reply:
            if self._is_unchanged(reply):
                self._have = None if self._is_complete else self._have
                return
            self._have = None
            if reply.status == 206 and self._continues(reply.headers):
                self._pieced = True
                self._check_space()
            elif reply.status == 200:
                if self._part.size:
                    progress.note("'{}' is sent from its beginning again", self._slot.url)
                self._begin(_note_of(reply.headers, self._address))
                _refuse_other(reply.headers, self._address)
                self._check_space()
                self._slot.note_part(self._note)
            else:
                self._begin(Note(self._address.shown, ""))
                raise Passing(f"'{self._slot.url}' is answered with another part than asked for")
            with progress.job(f"downloading {self._note.name}", self._note.size):
                progress.advance(self._part.size)
                self._take(reply)

    @property
    def _whole(self) -> Note | None:
        """What is noted of a file that is here, and would only be confirmed."""
        if self._is_complete:
            return self._note
        return self._have.note if self._have is not None and not self._part.size else None

    def _is_unchanged(self, reply: Reply) -> bool:
        """Say whether a reply confirms what is here, also if the server sends it all the same."""
        note = self._whole
        if note is None or reply.status != 200:
            return note is not None and reply.status == 304
        now = _note_of(reply.headers, self._address)
        dated = (note.last_modified, note.size) == (now.last_modified, now.size)
        if not self._address.whole:  # it may be another file, whose ETag is as short
            return dated and note.etag is not None and note.etag == now.etag
        if note.etag is not None or now.etag is not None:
            return note.etag == now.etag
        return dated and note.last_modified is not None

    def _conditions(self) -> dict[str, str]:
        """Return the headers that ask for what is missing, or whether anything has changed."""
        note = self._whole
        if note is not None and not self._address.whole:
            return {}
        if note is not None:
            asked = {"If-None-Match": note.etag, "If-Modified-Since": note.last_modified}
            return {name: value for name, value in asked.items() if value}
        if not self._part.size:
            return {}
        headers = {"Range": f"bytes={self._part.size}-"}
        if self._note.validator is not None:
            headers["If-Range"] = self._note.validator
        return headers

    def _continues(self, headers: Message) -> bool:
        """Say whether a reply is the rest of the part, by all that it says of itself."""
        match = re.fullmatch(
            r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", headers.get("Content-Range", "").strip()
        )
        if match is None or int(match[1]) != self._part.size:
            return False
        if self._note.size is not None and match[2] not in ("*", str(self._note.size)):
            return False
        etag = headers.get("ETag")
        return etag is None or self._note.etag is None or etag == self._note.etag

    def _check_space(self) -> None:
        free = fileio.free_space(self._slot.folder)
        more = (self._note.size or 0) - self._part.size
        if more + SPACE_BESIDE > free:
            raise MvcError(
                f"'{self._slot.url}' needs {more:,} bytes more and 1 MiB beside, only {free:,} "
                f"are free in '{self._slot.cache}'",
                hint="free some space, or import into a registry on another disk",
            )

    def _take(self, reply: Reply) -> None:
        started, taken = time.monotonic(), 0
        for block in reply.blocks():
            self._part.write([block])
            self._digest.update(block)
            self.received += len(block)
            taken += len(block)
            progress.advance(len(block))
            elapsed = time.monotonic() - started
            if elapsed > STUCK:
                if taken < SLOWEST * elapsed:
                    raise Passing(f"'{self._slot.url}' comes with {taken / elapsed:.0f} bytes/s")
                started, taken = time.monotonic(), 0
        size = self._note.size
        if size is None and self._wanted is None and "Transfer-Encoding" not in reply.headers:
            warn(
                f"'{self._slot.url}' came without its length, so nobody can tell whether it is "
                "whole; --sha256 would",
                MvcWarning,
            )
        if size is not None and self._part.size < size:
            raise Passing(
                f"'{self._slot.url}' broke off after {self._part.size:,} of {size:,} bytes"
            )

    def finish(self) -> Downloaded:
        """Compare the digest, and give the file its name.

        Raises:
            Passing: It was put together from parts of different states.
            RemoteFailed: It is not what was wanted.
        """
        if self._have is not None:
            return Downloaded(self._have, self.received)
        digest, wanted = self._digest.hexdigest(), self._wanted
        if wanted is None and self._is_page():
            self._begin(Note(self._address.shown, ""))
            raise _a_page(self._address)
        if wanted is not None and not digest.startswith(wanted.sha256):
            pieced = self._pieced
            self._begin(Note(self._address.shown, ""))
            message = f"'{self._slot.url}' has SHA-256 {digest}, {wanted.said_by} {wanted.sha256}"
            if pieced:
                raise Passing(message)
            raise RemoteFailed(
                message, hint="the file there is damaged, or another; nothing of it was kept"
            )
        note = replace(self._note, size=self._part.size, boot=None, sha256=digest, downloaded=now())
        return Downloaded(fileio.run(self.publish(note, digest)), self.received)

    def _is_page(self) -> bool:
        """Say whether a page came instead, as a login does, whatever the server calls it."""
        return is_web_page(self._part.read(0, HEAD_SIZE)) and not _may_be_page(self._address)

    def publish(self, note: Note, digest: str) -> Steps[Cached]:
        """The protocol by which a whole part becomes the file; ``named`` is its commit point."""
        before = self._slot.whole()
        self._part.sync()
        yield "synced"
        self._slot.note_whole(note)
        yield "noted"
        path = self._slot.folder / note.name
        fileio.move_into_place(self._part.path, path, overwrite=True)
        yield "named"
        self._slot.clear_part_note()
        yield "cleared"
        if before is not None and before.path != path:
            fileio.remove(before.path)
        return Cached(path, self._part.size, digest, note)


def _note_of(headers: Message, address: Address) -> Note:
    """Return what a reply says of the file that begins with it."""
    size = headers.get("Content-Length", "").strip()
    known = size.isascii() and size.isdigit() and len(size) < 20
    name = address.name
    if "." not in name:
        name = safe_name(headers.get_filename() or "") or name or "download"
    if name in cache.OWN_NAMES:
        name = f"the-{name}"
    return Note(
        url=address.shown,
        name=name,
        size=int(size) if known else None,
        etag=_header(headers, "ETag"),
        last_modified=_header(headers, "Last-Modified"),
        boot=environment.boot(),
    )


def _header(headers: Message, name: str) -> str | None:
    value = headers.get(name)
    return value if value and value.isascii() and value.isprintable() and len(value) < 500 else None


def _refuse_other(headers: Message, address: Address) -> None:
    """Refuse what is not the file itself."""
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise RemoteFailed(
            f"'{address.shown}' comes packed as {encoding[:20]}, though it was asked for as it is",
            hint=f"curl --compressed -LO '{address.shown}', then mvc add the file",
        )
    if headers.get_content_type() == "text/html" and not _may_be_page(address):
        raise _a_page(address)


def _may_be_page(address: Address) -> bool:
    return address.name.endswith((".html", ".htm"))


def _a_page(address: Address) -> RemoteFailed:
    message = f"'{address.shown}' is a web page, no model file"
    return RemoteFailed(message, hint=_page_hint(address))


def _page_hint(address: Address) -> str:
    match = re.fullmatch(r"https://huggingface\.co/([\w.-]+/[\w.-]+)/?", address.shown)
    if match is not None:
        return f"mvc import hf:{match[1]}"
    if address.host in FILES_AT and "/blob/" in address.shown:
        return f"mvc import {address.shown.replace('/blob/', FILES_AT[address.host], 1)}"
    return "copy the address of its download link"
