"""A download is whole and the right file, or an error; and what has come is not fetched again."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from email.message import Message
from http.client import HTTPMessage
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from mvc import environment, fileio, progress
from mvc.errors import Busy, Conflict, MvcError, MvcWarning, RemoteFailed
from mvc.partfile import PartFile
from mvc.registry.imports import download as downloads
from mvc.registry.imports import request, transfer
from mvc.registry.imports.address import parse
from mvc.registry.imports.cached import Slot
from mvc.registry.imports.download import download
from mvc.registry.imports.transfer import Downloaded, Wanted
from tests.registry.imports.conftest import BODY
from tests.support.file_server import Manner, Server, serving

SHA256 = hashlib.sha256(BODY).hexdigest()
RIGHT = Wanted(SHA256, "not, as asked for,")
OTHER = bytes(reversed(BODY))


def get(server: Server, folder: Path, name: str = "model.pt", **options: object) -> Downloaded:
    return download(parse(f"{server.url}/{name}"), folder, **options)  # type: ignore[arg-type]  # as given


def beside(done: Downloaded) -> list[str]:
    """Name what lies in the folder of a download."""
    return sorted(path.name for path in done.cached.path.parent.iterdir())


def broken_off(server: Server, folder: Path, at: int = 100_000) -> None:
    """Leave a part of ``at`` bytes behind, as a process that gave up does."""
    server.always = Manner(cut=at, ranges=False)
    with pytest.raises(RemoteFailed):
        get(server, folder)
    server.always = Manner()
    server.asked.clear()
    server.sent_since()


def test_what_was_downloaded_is_asked_for_and_not_sent_again(
    server: Server, tmp_path: Path
) -> None:
    """The second time costs one question and no bytes, and the file is the same."""
    first = get(server, tmp_path / "cache")
    assert first.cached.path.read_bytes() == BODY
    assert (first.received, first.cached.sha256) == (len(BODY), SHA256)
    assert beside(first) == ["download.yaml", "model.pt"]
    assert (tmp_path / "cache/.gitignore").read_text() == "*\n"
    second = get(server, tmp_path / "cache")
    assert (second.received, second.cached) == (0, first.cached)
    assert [headers["If-None-Match"] for _, headers in server.asked] == [None, '"one"']
    assert server.sent == len(BODY)


@pytest.mark.parametrize("etag", ['"one"', 'W/"one"', None])
def test_a_server_that_sends_it_all_the_same_is_not_listened_to(
    server: Server, tmp_path: Path, etag: str | None
) -> None:
    """The state in the headers tells that nothing has changed, so the body is not read."""
    server.etag, server.last_modified = etag, "Sun, 29 Nov 2026 14:00:00 GMT"
    server.always = Manner(conditions=False)
    first = get(server, tmp_path)
    assert get(server, tmp_path).received == 0
    server.last_modified = "Sun, 29 Nov 2026 15:00:00 GMT"
    server.etag = etag and '"two"'
    server.body = OTHER
    assert get(server, tmp_path).cached.path.read_bytes() == OTHER
    assert first.cached.sha256 == SHA256


def test_a_signed_address_is_recognised_and_another_file_is_not(
    server: Server, tmp_path: Path
) -> None:
    """A new signature costs no download; what only its hidden parts tell apart is compared."""
    get(server, tmp_path, "get.pt?signature=one")
    assert get(server, tmp_path, "get.pt?signature=two").received == 0
    server.body = BODY[1:]  # with the same ETag
    assert get(server, tmp_path, "get.pt?model=other").received == len(BODY) - 1


def test_a_known_digest_asks_nobody(server: Server, tmp_path: Path) -> None:
    """What is cached and has the digest that is wanted needs no server."""
    get(server, tmp_path)
    assert get(server, tmp_path, wanted=RIGHT).received == 0
    assert len(server.asked) == 1


@pytest.mark.parametrize("validator", ["etag", "last_modified"])
def test_a_broken_connection_goes_on_where_it_was(
    server: Server, tmp_path: Path, validator: str
) -> None:
    """Broken twice, each byte is sent once, on the condition that it is the same file."""
    server.etag, server.last_modified = None, None
    state = '"one"' if validator == "etag" else "Sun, 29 Nov 2026 14:00:00 GMT"
    setattr(server, validator, state)
    server.manners = [Manner(cut=100_000), Manner(cut=120_000)]
    done = get(server, tmp_path)
    assert done.cached.path.read_bytes() == BODY
    assert (server.sent, done.received) == (len(BODY), len(BODY))
    asked = [(headers["Range"], headers["If-Range"]) for _, headers in server.asked]
    assert asked == [(None, None), ("bytes=100000-", state), ("bytes=220000-", state)]


@pytest.mark.parametrize("step", ["synced", "noted", "named", "cleared"])
def test_a_kill_while_it_gets_its_name_costs_no_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """After each step the next call finds all that has come, also over an old file."""
    get(server, tmp_path)
    server.body, server.etag = OTHER, '"two"'
    real = fileio.run

    def killed(steps: Any) -> Any:
        if steps.__name__ == "publish":
            assert step in iter(steps)
            raise KeyboardInterrupt
        return real(steps)

    with monkeypatch.context() as patch:
        patch.setattr(fileio, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            get(server, tmp_path)
    server.sent_since()
    done = get(server, tmp_path)
    assert (done.received, server.sent) == (0, 0)
    assert done.cached.path.read_bytes() == OTHER
    assert beside(done) == ["download.yaml", "model.pt"]


def test_who_waits_is_told_why_and_what_is_kept(server: Server, tmp_path: Path) -> None:
    """Each further attempt is told before it is made, and giving up says what is not lost."""
    noted: list[str] = []
    server.always = Manner(cut=100_000, ranges=False)
    with progress.listening(noted=noted.append), pytest.raises(RemoteFailed) as failed:
        get(server, tmp_path)
    attempts = len(server.asked)
    assert [text for text in noted if "asking again in" in text] == noted[::2]
    assert len(noted[::2]) == attempts - 1 == 4
    assert "sent from its beginning again" in noted[1]
    whole = f"100,000 of {len(BODY):,} bytes are kept"
    assert failed.value.hint == f"{whole}; the same command goes on from there"


def test_what_cannot_be_gone_on_from_is_not_said_to_be_kept(server: Server, tmp_path: Path) -> None:
    """Without ETag, date or digest the next call begins again, so nothing else is promised."""
    server.etag = server.last_modified = None
    server.always = Manner(cut=100_000, ranges=False)
    with pytest.raises(RemoteFailed) as failed:
        get(server, tmp_path)
    assert failed.value.hint == "try again later"


@pytest.mark.parametrize("head", [b"<!DOCTYPE html>\n", b"\xef\xbb\xbf\n  <HTML lang=en>"])
def test_a_page_is_refused_whatever_the_server_calls_it(
    server: Server, tmp_path: Path, head: bytes
) -> None:
    """A login page that is sent as a file is no model, and nothing of it is kept."""
    server.body, server.content_type = head + b"<p>log in</p>", "application/octet-stream"
    with pytest.raises(RemoteFailed, match="is a web page, no model file"):
        get(server, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.name == "model.pt"] == []
    assert get(server, tmp_path, "page.html").cached.path.read_bytes() == server.body


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    """What a call that gave up has left is not sent again."""
    broken_off(server, tmp_path)
    assert get(server, tmp_path).cached.path.read_bytes() == BODY
    assert server.sent == len(BODY) - 100_000


def test_a_file_that_changed_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    """No file is put together from two states, neither in one call nor over two."""
    broken_off(server, tmp_path)
    server.body, server.etag = OTHER, '"two"'
    assert get(server, tmp_path).cached.path.read_bytes() == OTHER
    server.body, server.etag = BODY, '"three"'
    done = get(server, tmp_path)
    assert done.cached.path.read_bytes() == BODY
    assert beside(done) == ["download.yaml", "model.pt"]


def test_a_lying_rest_is_not_believed(server: Server, tmp_path: Path) -> None:
    """A 206 with another ETag, although asked for the old one, begins again."""
    broken_off(server, tmp_path)
    server.manners = [Manner(headers={"ETag": '"two"'})]
    assert get(server, tmp_path).cached.path.read_bytes() == BODY
    assert [headers["Range"] for _, headers in server.asked] == ["bytes=100000-", None]


@pytest.mark.parametrize("shift", [-1, 1, 1000])
def test_another_range_than_asked_for_is_not_believed(
    server: Server, tmp_path: Path, shift: int
) -> None:
    """A 206 that begins elsewhere is not appended."""
    broken_off(server, tmp_path)
    server.manners = [Manner(shift=shift)]
    assert get(server, tmp_path).cached.path.read_bytes() == BODY


def test_a_server_without_ranges_is_asked_from_the_start(server: Server, tmp_path: Path) -> None:
    """Where the whole is sent instead of the rest, the whole is taken."""
    server.manners = [Manner(cut=100_000)]
    server.always = Manner(ranges=False)
    assert get(server, tmp_path).cached.path.read_bytes() == BODY
    assert server.sent == len(BODY) + 100_000


def test_without_anything_to_compare_it_begins_again(server: Server, tmp_path: Path) -> None:
    """Without ETag, date or digest nobody could tell whether the rest fits; with one, it counts."""
    server.etag = None
    broken_off(server, tmp_path)
    server.manners = [Manner(cut=200_000)]
    assert get(server, tmp_path, wanted=RIGHT).cached.path.read_bytes() == BODY
    assert [headers["Range"] for _, headers in server.asked] == ["bytes=100000-"]


def test_a_part_from_before_a_power_cut_is_not_believed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine was started anew: bytes that were not synced may be any, so none are kept."""
    broken_off(server, tmp_path)
    monkeypatch.setattr(environment, "boot", lambda: "another")
    assert get(server, tmp_path).cached.path.read_bytes() == BODY
    assert server.sent == len(BODY)


def test_a_damaged_part_is_noticed_by_its_digest(server: Server, tmp_path: Path) -> None:
    """A piece that rotted costs a download from the start, if the digest is known."""
    broken_off(server, tmp_path)
    (part,) = tmp_path.rglob("download.part")
    part.write_bytes(b"\0" * 100_000)
    assert get(server, tmp_path, wanted=RIGHT).cached.path.read_bytes() == BODY


def test_a_damaged_file_or_note_is_fetched_again(server: Server, tmp_path: Path) -> None:
    """What rotted in the cache is never taken."""
    done = get(server, tmp_path)
    for victim in (done.cached.path, done.cached.path.parent / "download.yaml"):
        victim.write_bytes(b"\0" + victim.read_bytes()[1:])
        assert get(server, tmp_path).cached.path.read_bytes() == BODY


def test_one_that_never_gets_further_is_given_up(server: Server, tmp_path: Path) -> None:
    """A server that claims more than it has is asked five times, and nothing gets the name."""
    server.always = Manner(length=len(BODY) + 1)
    with pytest.raises(RemoteFailed, match=r"broke off after 300,000 of 300,001 bytes; tried 5"):
        get(server, tmp_path)
    assert len(server.asked) == 5
    assert not list(tmp_path.rglob("model.pt"))


def test_bytes_that_are_not_those_wanted_are_not_kept(server: Server, tmp_path: Path) -> None:
    """Other bytes than the digest says, as of a length that is too short, leave nothing."""
    server.always = Manner(length=100)
    with pytest.raises(RemoteFailed, match=f"SHA-256 [0-9a-f]{{64}}, .* {SHA256}"):
        get(server, tmp_path, wanted=RIGHT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("status", "requests", "words"),
    [
        (401, 1, "wants a login"),
        (403, 1, "refuses access"),
        (404, 1, "has no such file"),
        (410, 1, "any more"),
        (302, 1, "leads nowhere"),
        (418, 1, "answers 418"),
        (429, 5, "too often"),
        (500, 5, "answers 500"),
        (503, 5, "tried 5 times"),
        (529, 5, "answers 529"),
    ],
)
def test_a_refusal_is_a_line_with_its_status(
    server: Server, tmp_path: Path, status: int, requests: int, words: str
) -> None:
    """What will not change is asked once, what may pass a few times; each says what to do."""
    server.always = Manner(status=status)
    with pytest.raises(RemoteFailed, match=words) as raised:
        get(server, tmp_path)
    assert str(status) in raised.value.message
    assert raised.value.hint
    assert len(server.asked) == requests


def test_what_is_gone_there_can_still_be_had_offline(server: Server, tmp_path: Path) -> None:
    """A refusal where the file is cached says how to take that."""
    get(server, tmp_path)
    server.always = Manner(status=404)
    with pytest.raises(RemoteFailed, match="has no such file") as raised:
        get(server, tmp_path)
    assert (raised.value.hint or "").startswith("--offline takes what was downloaded on 20")
    assert get(server, tmp_path, offline=True).cached.path.read_bytes() == BODY


def test_what_passes_is_waited_for(server: Server, tmp_path: Path) -> None:
    """A server that is busy for a moment is asked again when it says so."""
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.manners = [
        Manner(status=503, headers={"Retry-After": "0"}),
        Manner(status=429, headers={"Retry-After": past}),
        Manner(status=500, headers={"Retry-After": "soon"}),
    ]
    assert get(server, tmp_path).received == len(BODY)


def test_nobody_waits_for_an_hour(server: Server, tmp_path: Path) -> None:
    """Who is to come back in an hour is told so at once."""
    server.always = Manner(status=429, headers={"Retry-After": "3600"})
    with pytest.raises(RemoteFailed, match="asked again in 3600 s"):
        get(server, tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_packed_contents_are_refused(server: Server, tmp_path: Path, encoding: str) -> None:
    """What comes packed, though asked for plain, is not taken for the file."""
    server.always = Manner(headers={"Content-Encoding": encoding})
    with pytest.raises(RemoteFailed, match=f"comes packed as {encoding}"):
        get(server, tmp_path)
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


def test_a_web_page_is_no_model(server: Server, tmp_path: Path) -> None:
    """The page about a file, whose address is easily taken for it, is refused."""
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(RemoteFailed, match="is a web page, no model file"):
        get(server, tmp_path)


@pytest.mark.parametrize(
    ("page", "hint"),
    [
        ("https://huggingface.co/anna/bert", "mvc import hf:anna/bert"),
        (
            "https://huggingface.co/anna/bert/blob/main/m.safetensors?token=x",
            "mvc import https://huggingface.co/anna/bert/resolve/main/m.safetensors",
        ),
        ("https://github.com/a/b/blob/v1/m.pt", "mvc import https://github.com/a/b/raw/v1/m.pt"),
        ("https://example.org/blob/m.pt", "copy the address of its download link"),
    ],
)
def test_a_page_is_answered_with_the_address_of_the_file(page: str, hint: str) -> None:
    """What people copy from the browser's address line leads to what they meant."""
    headers = Message()
    headers["Content-Type"] = "text/html"
    with pytest.raises(RemoteFailed) as raised:
        transfer._refuse_other(headers, parse(page))
    assert raised.value.hint == hint


def test_silence_and_a_drip_are_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a server that says nothing more, nor one that sends next to nothing, holds us."""
    monkeypatch.setattr(request, "PATIENCE", 0.1)
    server.always = Manner(stall=1000)
    with pytest.raises(RemoteFailed, match=r"silent for 0.1 s; tried 5 times"):
        get(server, tmp_path)
    monkeypatch.setattr(request, "PATIENCE", 5.0)
    monkeypatch.setattr(transfer, "STUCK", 0.1)
    server.always = Manner(drip=0.02)
    with pytest.raises(RemoteFailed, match=r"comes with \d+ bytes/s; tried 5 times"):
        get(server, tmp_path)


def test_in_chunks_without_a_length_it_is_whole_or_noticed(server: Server, tmp_path: Path) -> None:
    """Chunks tell their end, so one that breaks off is noticed."""
    server.etag = None
    server.manners = [Manner(chunked=True, cut=100_000)]
    server.always = Manner(chunked=True)
    assert get(server, tmp_path).cached.path.read_bytes() == BODY
    assert len(server.asked) == 2


def test_without_any_length_it_is_said_that_nobody_knows(server: Server, tmp_path: Path) -> None:
    """Where a broken connection looks like the end, a warning says so; a digest settles it."""
    server.always = Manner(unsized=True)
    with pytest.warns(MvcWarning, match="without its length"):
        get(server, tmp_path)
    get(server, tmp_path / "other", wanted=RIGHT)


def test_a_redirect_is_followed_without_the_login(server: Server, tmp_path: Path) -> None:
    """The password goes to the server that it is for, and to no other."""
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    server.manners = [Manner(status=302, headers={"Location": f"{elsewhere}/cdn/x?sig=1"})]
    address = parse(server.url.replace("//", "//anna:hunter2@") + "/model.pt")
    assert download(address, tmp_path).cached.path.name == "model.pt"
    assert [headers["Authorization"] for _, headers in server.asked] == [
        "Basic YW5uYTpodW50ZXIy",
        None,
    ]
    assert "hunter2" not in repr(address)


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_a_redirect_leads_to_no_file_of_ours(server: Server, tmp_path: Path, place: str) -> None:
    """No server can make mvc read what lies on this machine."""
    server.always = Manner(status=302, headers={"Location": place})
    with pytest.raises(RemoteFailed, match="no address of a server"):
        get(server, tmp_path)


def test_a_redirect_leaves_no_encryption_behind() -> None:
    """From https nobody is led to http, unless they type that themselves."""
    address = parse("https://anna:hunter2@example.org/model.pt?token=hunter2")
    handler = request._Redirects(address)
    asked = urllib.request.Request(address.url)
    with pytest.raises(RemoteFailed, match=r"leads to 'http://other.org/m', .* not encr") as raised:
        handler.redirect_request(
            asked, None, 302, "Found", HTTPMessage(), "http://other.org/m?key=hunter2"  # type: ignore[arg-type]  # not looked at
        )  # fmt: skip
    assert "hunter2" not in str(raised.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_an_encrypted_server_must_be_one_that_is_trusted(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate of nobody is refused, of an authority of one's own taken; it stays https."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    with serving(BODY, both) as encrypted:
        with pytest.raises(RemoteFailed, match="a certificate that is not trusted") as raised:
            get(encrypted, tmp_path / "cache")
        assert "SSL_CERT_FILE" in (raised.value.hint or "")
        assert encrypted.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert get(encrypted, tmp_path / "cache").cached.path.read_bytes() == BODY
        encrypted.always = Manner(status=302, headers={"Location": f"{server.url}/model.pt"})
        with pytest.raises(RemoteFailed, match="which is not encrypted"):
            get(encrypted, tmp_path / "other")
        assert server.asked == []


def test_https_of_a_server_without_encryption_is_said_to_be_that(
    server: Server, tmp_path: Path
) -> None:
    """No number of a version of TLS, but what to change in the address."""
    address = parse(server.url.replace("http:", "https:") + "/model.pt")
    with pytest.raises(RemoteFailed, match="does not encrypt, as https wants it") as raised:
        download(address, tmp_path)
    assert "http://" in (raised.value.hint or "")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("proxy", ["http://anna:hunter2@127.0.0.1:1/", "anna:hunter2@127.0.0.1:1"])
def test_a_proxy_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, proxy: str
) -> None:
    """It is the proxy that cannot be reached, not the server; its login is not shown."""
    monkeypatch.setenv(f"{scheme}_proxy", proxy)
    monkeypatch.setenv("no_proxy", "localhost")
    who = "'127.0.0.1:1', the proxy to 'example.org', takes no connections"
    with pytest.raises(RemoteFailed, match=who) as raised:
        download(parse(f"{scheme}://example.org/m.pt"), tmp_path)
    hint = f"look at the proxy that {scheme}_proxy names; no_proxy=example.org goes round it"
    assert (raised.value.hint, "hunter2" in str(raised.value)) == (hint, False)
    with pytest.raises(RemoteFailed, match="'localhost:1' takes no connections") as raised:
        download(parse(f"{scheme}://localhost:1/m.pt"), tmp_path)
    assert "proxy" not in str(raised.value)


def test_where_nothing_can_be_written_what_is_cached_can_be_taken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache on a read-only disk leads to --offline; with a digest that is known it does."""
    get(server, tmp_path)
    refused = OSError(errno.EROFS, "Read-only file system", "download.part")
    monkeypatch.setattr(PartFile, "claim", Mock(side_effect=refused))
    with pytest.raises(MvcError, match="may not be written to") as raised:
        get(server, tmp_path)
    assert (raised.value.hint or "").startswith("--offline takes what was downloaded on 20")
    assert get(server, tmp_path, offline=True).cached == get(server, tmp_path, wanted=RIGHT).cached
    with pytest.raises(OSError, match="Read-only"):
        get(server, tmp_path, "other.pt")


def test_what_lies_where_downloads_are_to_lie_is_named(server: Server, tmp_path: Path) -> None:
    """A file, or a link that leads nowhere, in the place of the folder is to be moved away."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        with pytest.raises(Conflict, match=f"/{name}' is no folder") as raised:
            get(server, tmp_path / name)
        assert raised.value.hint == "move it away"


def test_a_circle_of_redirects_ends(server: Server, tmp_path: Path) -> None:
    """A redirect to itself is one line."""
    server.always = Manner(status=302, headers={"Location": "/model.pt"})
    with pytest.raises(RemoteFailed, match="leads in a circle"):
        get(server, tmp_path)


def test_space_is_asked_for_before_anything_is_written(server: Server, tmp_path: Path) -> None:
    """A file that cannot fit is refused by its length."""
    server.always = Manner(length=1 << 60)
    with pytest.raises(MvcError, match=r"needs 1,152,921,504,606,846,976 bytes more and 1 MiB"):
        get(server, tmp_path)
    assert not list(tmp_path.rglob("download.part"))


def test_two_at_once_download_it_once(server: Server, tmp_path: Path) -> None:
    """Whoever comes second waits, and takes what the first has brought."""
    server.manners = [Manner(cut=100_000)]
    results: list[Downloaded] = []
    threads = [
        threading.Thread(target=lambda: results.append(get(server, tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.cached.path.read_bytes() == BODY for done in results] == [True] * 4
    assert server.sent == len(BODY)


def test_another_that_gets_nowhere_is_not_waited_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that holds the download and brings nothing ends in a line, not in a hang."""
    monkeypatch.setattr(downloads, "OTHERS_PATIENCE", 0.2)
    broken_off(server, tmp_path)
    (path,) = tmp_path.rglob("download.part")
    other = PartFile.claim(path)
    assert other is not None
    with pytest.raises(Busy, match="nothing comes"):
        get(server, tmp_path)
    other.close()
    assert get(server, tmp_path).received == len(BODY) - 100_000


def test_a_part_may_vanish_while_it_is_waited_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks how much another has brought, just as that gets its name, goes on all the same."""
    broken_off(server, tmp_path)
    (path,) = tmp_path.rglob("download.part")
    other = PartFile.claim(path)
    assert other is not None
    is_there, measure = os.path.exists, Path.stat

    def exists(looked_at: Path) -> bool:
        there = is_there(looked_at)
        if looked_at == path:
            path.unlink(missing_ok=True)
        return there

    def stat(looked_at: Path, **options: Any) -> os.stat_result:
        exists(looked_at)
        return measure(looked_at, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", exists)
        patch.setattr(Path, "stat", stat)
        assert get(server, tmp_path).cached.path.read_bytes() == BODY
    other.close()


def brought_before_it_is_claimed(
    monkeypatch: pytest.MonkeyPatch, bring: Callable[[], object]
) -> None:
    """Let another process download a file between this one's look and its claim."""
    claim = downloads._claim

    def later(slot: Slot) -> PartFile:
        monkeypatch.setattr(downloads, "_claim", claim)
        bring()
        return claim(slot)

    monkeypatch.setattr(downloads, "_claim", later)


def test_what_another_has_just_brought_is_not_downloaded_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also who need not wait looks again: new, changed there, and as a digest wants it."""
    for body, wanted in ((BODY, None), (OTHER, None), (BODY, RIGHT)):
        server.body, server.etag = body, f'"{hashlib.sha256(body).hexdigest()}"'
        brought_before_it_is_claimed(monkeypatch, lambda: get(server, tmp_path))
        done = get(server, tmp_path, wanted=wanted)
        assert (done.received, done.cached.path.read_bytes()) == (0, body)
        assert server.sent_since() == len(BODY)


def test_what_another_brought_may_be_another_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not the whole address is noted, the server is asked whether it is the file meant."""
    brought_before_it_is_claimed(monkeypatch, lambda: get(server, tmp_path, "get.pt?model=one"))
    claim = downloads._claim

    def changed(slot: Slot) -> PartFile:
        part = claim(slot)
        server.body = BODY[1:]
        return part

    monkeypatch.setattr(downloads, "_claim", changed)
    assert get(server, tmp_path, "get.pt?model=other").cached.path.read_bytes() == BODY[1:]


def test_an_empty_file_leaves_what_others_began_alone(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once nothing, wholly downloaded, has its name, the next part is somebody else's."""
    server.body = b""
    move = fileio.move_into_place

    def moved(private: Path, final: Path, *, overwrite: bool) -> bool:
        done = move(private, final, overwrite=overwrite)
        private.write_bytes(b"theirs")
        return done

    monkeypatch.setattr(fileio, "move_into_place", moved)
    done = get(server, tmp_path)
    assert beside(done) == ["download.part", "download.yaml", "model.pt"]


@pytest.mark.parametrize("when", ["asked", "whole"])
def test_who_deletes_the_cache_meanwhile_is_told_so(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The folder may be deleted at any time: that is one line, and the next call downloads."""
    before = {"asked": "attempt", "whole": "finish"}[when]
    real = getattr(transfer.Transfer, before)

    def deleted(self: transfer.Transfer) -> object:
        shutil.rmtree(tmp_path / "cache")
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(transfer.Transfer, before, deleted)
        with pytest.raises(Conflict, match="was deleted while") as raised:
            get(server, tmp_path / "cache")
    assert raised.value.hint == "run this again"
    assert get(server, tmp_path / "cache").cached.path.read_bytes() == BODY


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('attachment; filename="bert.pt"', "bert.pt"),
        ('attachment; filename="../../evil.pt"', "evil.pt"),
        ('attachment; filename="..\\\\..\\\\evil.pt"', "evil.pt"),
        ("attachment; filename=/etc/cron.d/evil", "evil"),
        ("attachment; filename*=UTF-8''%2e%2e%2fevil.pt", "evil.pt"),
        ('attachment; filename="..."', "get"),
        ('attachment; filename="download.part"', "the-download.part"),
        ("attachment; filename=" + "a" * 400 + ".pt", "a" * 117 + ".pt"),
        ("nonsense; filename*=what'ever''%ff", "'ÿ"),
    ],
)
def test_no_name_leads_out_of_the_folder(
    server: Server, tmp_path: Path, said: str, name: str
) -> None:
    """What a server calls a file is one plain name in the folder of its address."""
    server.always = Manner(headers={"Content-Disposition": said})
    done = get(server, tmp_path / "cache", "get?id=7")
    folder = done.cached.path.parent
    assert (folder.parent, done.cached.path.name) == (tmp_path / "cache", name)
    assert os.listdir(tmp_path) == ["cache"]


def test_odd_headers_are_passed_over(server: Server, tmp_path: Path) -> None:
    """A length that is none, and validators that are no text, do not end a download."""
    headers = Message()
    headers["Content-Length"] = "12abc"
    headers["ETag"] = '"\x07"'
    headers["Last-Modified"] = "x" * 1000
    note = transfer._note_of(headers, parse("https://example.org/m.pt"))
    assert (note.size, note.etag, note.last_modified) == (None, None, None)
