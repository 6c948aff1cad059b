"""One request over HTTP, and what can go wrong with it in words.

The standard library speaks the protocol, follows redirects, checks
certificates and uses the proxies of the environment; here is what it is to
refuse, and which failures may be gone the next time.

Why no other library: ``docs/decisions/0041-downloads.md``.
Public names: ``ask``, ``Reply``, ``Passing``, ``PATIENCE``.
"""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO
from urllib import request as library
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from mvc.errors import RemoteFailed
from mvc.registry.imports.address import Address, parse

# Seconds without a sign of life after which a connection is given up.
PATIENCE = 30.0
BLOCK = 1 << 20
_PASSING = {408, 425, 429}
_LOOK = "look at the address again, as in a browser"
_WORDS = {
    401: ("wants a login", "https://USER:PASSWORD@HOST/… logs in; it is not noted anywhere"),
    403: ("refuses access", "open the address in a browser: it may want a login or a consent"),
    404: ("has no such file", _LOOK),
    407: ("is behind a proxy that wants a login", "{}_proxy=http://USER:PASSWORD@PROXY"),
    410: ("has no such file any more", "look for its new place"),
    429: ("has been asked too often", "try again later, or log in"),
}  # fmt: skip
_NOT_REACHED = "look at the address and at the network, then run it again"
_NO_PROXY = "look at the proxy that {0}_proxy names; no_proxy={1} goes round it"
_NO_TLS = "a server without encryption has an address that begins with http://"
_AGAIN = "try again later"


class Passing(RemoteFailed):
    """A failure that may be gone the next time.

    ``after`` is in how many seconds the server wants to be asked again,
    ``reached`` whether there was a server at all.
    """

    def __init__(self, message: str, *, after: float | None = None, reached: bool = True) -> None:
        super().__init__(message, hint=_AGAIN if reached else _NOT_REACHED)
        self.after = after
        self.reached = reached


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: its status, its headers, and a body to be read block by block."""

    status: int
    headers: Message
    _body: HTTPResponse | None

    def blocks(self) -> Iterator[bytes]:
        """Yield the body as it comes.

        Raises:
            Passing: It broke off, or nothing comes any more.
        """
        while self._body is not None:
            with _in_words("the server"):
                block = self._body.read1(BLOCK)
            if not block:
                return
            yield block


@contextmanager
def ask(address: Address, headers: Mapping[str, str]) -> Iterator[Reply]:
    """Ask for an address; answers 2xx, 304 and 416 are for the caller to understand.

    Raises:
        RemoteFailed: The server refuses, or leads elsewhere than is allowed.
        Passing: It cannot be reached, or not now.
    """
    request = library.Request(address.url, headers={"User-Agent": "mvc", **headers})
    request.add_header("Accept-Encoding", "identity")
    if address.login is not None:
        login = base64.b64encode(address.login.encode()).decode("ascii")
        # Unredirected: wherever this leads, nobody else gets the password.
        request.add_unredirected_header("Authorization", f"Basic {login}")
    try:
        with _in_words(*_asked(address)):
            response = _opener(address).open(request, timeout=PATIENCE)
    except HTTPError as error:
        with error:
            if error.code not in (304, 416):
                raise _refused(address, error.code, error.headers) from None
            reply = Reply(error.code, error.headers, None)
        yield reply
        return
    with response:
        yield Reply(response.status, response.headers, response)


class _Redirects(library.HTTPRedirectHandler):
    """Follows redirects, from https to https only."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def redirect_request(
        self, req: library.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage,
        newurl: str,
    ) -> library.Request | None:  # fmt: skip
        scheme, secure = urlsplit(newurl).scheme, req.full_url.startswith("https:")
        if scheme == "https" or (scheme == "http" and not secure):
            return super().redirect_request(req, fp, code, msg, headers, newurl)
        raise _elsewhere(self._address, newurl)


def _elsewhere(address: Address, leads_to: str) -> RemoteFailed:
    """Say that a redirect is not followed."""
    if urlsplit(leads_to).scheme == "http":
        return RemoteFailed(
            f"'{address.shown}' leads to '{parse(leads_to).shown}', which is not encrypted",
            hint="if that is to be trusted, import it by this address",
        )
    scheme = urlsplit(leads_to).scheme[:20]
    message = f"'{address.shown}' leads to '{scheme}:', which is no address of a server"
    return RemoteFailed(message, hint=_LOOK)


def _opener(address: Address) -> library.OpenerDirector:
    """Return what opens http and https and nothing else, neither files nor FTP."""
    opener = library.OpenerDirector()
    for handler in (
        library.ProxyHandler(),
        library.UnknownHandler(),
        library.HTTPHandler(),
        library.HTTPSHandler(),
        library.HTTPDefaultErrorHandler(),
        _Redirects(address),
        library.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _refused(address: Address, status: int, headers: Message) -> RemoteFailed:
    words, hint = _WORDS.get(status, (f"answers {status}", _LOOK))
    if 300 <= status < 400:
        place = headers.get("Location", "")
        if urlsplit(place).scheme not in ("", "http", "https"):
            return _elsewhere(address, place)
        words, hint = "leads in a circle" if place else "leads nowhere", _LOOK
    message = f"'{address.shown}': {address.host} {words}"
    if str(status) not in message:
        message += f" ({status})"
    if status in _PASSING or status >= 500:
        return Passing(message, after=_seconds(headers.get("Retry-After")))
    return RemoteFailed(message, hint=hint.format(_scheme(address)))


def _seconds(text: str | None) -> float | None:
    """Return in how many seconds a server wants to be asked again."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text.strip()[:9])
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
    except (TypeError, ValueError):
        return None


def _scheme(address: Address) -> str:
    return urlsplit(address.url).scheme


def _asked(address: Address) -> tuple[str, str]:
    """Return who is asked for an address, and what to look at if nobody is there."""
    scheme = _scheme(address)
    proxy = library.getproxies().get(scheme)
    if proxy is None or library.proxy_bypass(address.host):
        return f"'{address.server}'", _NOT_REACHED
    place = proxy.rpartition("@")[2].rpartition("//")[2].rstrip("/")
    who = f"'{place}', the proxy to '{address.server}',"
    return who, _NO_PROXY.format(scheme, address.host)


@contextmanager
def _in_words(who: str, hint: str = _NOT_REACHED) -> Iterator[None]:
    """Turn what the library and the system raise into what it means."""
    try:
        yield
    except HTTPError:
        raise
    except URLError as error:
        failure = _unreachable(who, error.reason)
        if failure.hint == _NOT_REACHED:
            failure.hint = hint
        raise failure from None
    except TimeoutError:
        raise Passing(f"{who} is silent for {PATIENCE:g} s") from None
    except HTTPException as error:
        said = str(error).partition("\n")[0][:80]
        raise Passing(f"{who} broke off ({type(error).__name__}: {said})") from None
    except OSError as error:
        raise Passing(f"the connection to {who} broke off ({_reason(error)})") from None


def _unreachable(who: str, reason: str | BaseException) -> RemoteFailed:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return RemoteFailed(
            f"{who} shows a certificate that is not trusted: {reason.verify_message}",
            hint="SSL_CERT_FILE=FILE names certificates of an authority of your own",
        )
    if isinstance(reason, ssl.SSLError) and reason.reason == "WRONG_VERSION_NUMBER":
        return RemoteFailed(f"{who} does not encrypt, as https wants it", hint=_NO_TLS)
    if isinstance(reason, TimeoutError):
        return Passing(f"{who} does not answer for {PATIENCE:g} s")
    if isinstance(reason, socket.gaierror):
        return Passing(f"no server {who} is known, or there is no network", reached=False)
    if isinstance(reason, ConnectionRefusedError):
        return Passing(f"{who} takes no connections", reached=False)
    return Passing(f"{who} cannot be reached ({_reason(reason)})", reached=False)


def _reason(error: str | BaseException) -> str:
    words = error if isinstance(error, str) else getattr(error, "strerror", None) or str(error)
    return str(words).partition("\n")[0][:80] or type(error).__name__
