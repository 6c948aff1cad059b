"""Addresses: what a URL asks for, and what of it may be shown and kept.

A record never forgets, so nothing that may be a secret gets that far: the
login is cut off, and of the query only parameters are shown whose names say
that they choose a file (``?id=7&token=…`` is shown as ``?id=7``).

Public names: ``Address``, ``parse``, ``without_login``, ``family_in``, ``safe_name``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from mvc.errors import UsageError
from mvc.registry.names import model_suffix

# Parameters that say which file is meant; any other may be a key or a signature.
SHOWN_PARAMETERS = frozenset(
    """
    alt branch commit dl download export file filename format fp id name path quantization raw ref
    rev revision size tag type v variant version
    """.split()
)
MOST_SHOWN = 64
MAX_NAME = 120
_SAFE = "/%:@!$&'()*+,;=~"
_DIGEST_IN_NAME = re.compile(r"-[0-9a-f]{8,64}$")


@dataclass(frozen=True, slots=True)
class Address:
    """A URL to download from.

    ``url`` is what is asked for, ``login`` the name and password given with it;
    neither is shown or kept. ``shown`` is, and ``whole`` says whether it is all of ``url``.
    """

    shown: str
    whole: bool
    host: str
    server: str
    name: str
    url: str = field(repr=False)
    login: str | None = field(default=None, repr=False)

    @property
    def folder(self) -> str:
        """A name for a folder that no other address has."""
        digest = hashlib.sha256(self.shown.encode()).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9.-]', '-', self.host)[:64]}-{digest[:8]}"


def parse(text: str) -> Address:
    """Understand a URL.

    Raises:
        UsageError: It is none that can be downloaded from.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port
    except (ValueError, UnicodeError):
        raise UsageError(
            f"'{without_login(text)}' is no URL", hint="as in https://example.org/model.pt"
        ) from None
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise UsageError(
            f"'{without_login(text)}' is nothing that can be downloaded from",
            hint="mvc import https://HOST/FILE; a file that is here already: mvc add FAMILY FILE",
        )
    place = f"[{host}]" if ":" in host else host
    place += f":{port}" if port is not None else ""
    path = quote(parts.path or "/", safe=_SAFE)
    query = quote(parts.query, safe=_SAFE + "?")
    kept = _shown_query(parts.query)
    login = None
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    scheme = parts.scheme.lower()
    return Address(
        shown=urlunsplit((scheme, place, path, kept, "")),
        whole=len(parse_qsl(kept)) == len(parts.query.split("&") if parts.query else []),
        host=host,
        server=place,
        name=safe_name(unquote(PurePosixPath(parts.path).name)),
        url=urlunsplit((scheme, place, path, query, "")),
        login=login,
    )


def _shown_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    return urlencode(
        [(k, v) for k, v in pairs if k.lower() in SHOWN_PARAMETERS and len(v) <= MOST_SHOWN]
    )


def without_login(text: str) -> str:
    """Return what was typed as a URL, as far as it may be shown, whatever it is."""
    return re.sub(r"//[^/]*@", "//", text.partition("?")[0])[:200]


def safe_name(text: str) -> str:
    """Return what a server or a URL calls a file, as one plain name; empty if nothing is left."""
    last = re.split(r"[/\\]", text)[-1]
    kept = "".join(c for c in last if c.isprintable() and c not in ':*?"<>|').strip()
    whole = kept.lstrip(".").encode("utf-8", "ignore")
    suffix = PurePosixPath(kept).suffix.encode("utf-8", "ignore")[:20]
    if len(whole) > MAX_NAME:
        whole = whole[: MAX_NAME - len(suffix)] + suffix
    return whole.decode("utf-8", "ignore")


def family_in(name: str) -> str:
    """Return the family that a file's name suggests: ``resnet18`` for ``resnet18-f37072fd.pth``."""
    name = name.removesuffix(model_suffix(name))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", _DIGEST_IN_NAME.sub("", name)).strip("-._")[:64]
