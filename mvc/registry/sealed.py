"""What records and events have in common: fields in fixed order, checked, sealed.

Public names: ``Reader``, ``sealed``, ``read_again``, ``now``, ``timestamp``, ``parse_time``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, cast

from mvc import lines
from mvc.compatibility import FORMAT, check_format
from mvc.digest import Digest
from mvc.errors import FormatError, MvcError, UsageError
from mvc.lines import Value

_TIME = re.compile(r"[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}\.[0-9]{6}Z\Z")


class Reader:
    """Takes the fields of a sealed file one by one, and refuses a wrong one by name."""

    def __init__(self, data: bytes, what: str) -> None:
        body = _unsealed(data)
        self._what = what
        self._values: dict[str, Any] = lines.loads(body)
        check_format(self._values.get("mvc"), what)
        self._values.pop("mvc")

    def take(self, name: str, *kinds: type, optional: bool = False) -> Any:
        """Return a field of one of the ``kinds``; JSON null only where ``NoneType`` is one."""
        if name not in self._values:
            if optional:
                return None
            raise FormatError(f"{self._what} lacks the field '{name}'")
        value = self._values.pop(name)
        if type(value) not in kinds:
            raise FormatError(f"{self._what}: the field '{name}' is {value!r:.80}")
        return value

    def take_time(self, name: str) -> str:
        value = self.take(name, str)
        try:
            whole = _TIME.match(value) and parse_time(value)
        except ValueError:
            whole = None
        if not whole:
            raise FormatError(f"{self._what}: '{name}' is no time: {value!r:.80}")
        return cast(str, value)

    def take_digest(self, name: str) -> Digest | None:
        value = self.take(name, str, optional=True)
        try:
            return None if value is None else Digest.parse(value)
        except FormatError as error:
            raise FormatError(f"{self._what}: '{name}' is {error.message}") from None

    def finish(self) -> None:
        """Refuse fields that nobody took."""
        for name in self._values:
            raise FormatError(f"{self._what} has an unknown field '{name}'")


def _unsealed(data: bytes) -> bytes:
    """Return the bytes above the seal; where git broke it, say what it did."""
    try:
        return lines.unseal(data)
    except FormatError:
        if b"\r\n" in data:
            raise FormatError(
                "its line ends were converted to CRLF",
                hint="git does that where .mvc/manifest/.gitattributes does not say "
                "'* -text -merge'; write that, delete the file, and git checkout -- FILE",
            ) from None
        if b"\n<<<<<<< " in b"\n" + data:
            raise FormatError(
                "it holds git's conflict markers",
                hint="choose one side whole: git checkout --ours -- FILE, or --theirs; "
                "the other becomes the next number, as docs/git.md shows",
            ) from None
        raise


def sealed(values: Mapping[str, Value]) -> bytes:
    """Write fields and their seal.

    Raises:
        UsageError: A value cannot be written, or all together are too long to be read again.
    """
    try:
        data = lines.seal(lines.dumps({"mvc": FORMAT, **values}))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"a value cannot be kept: {error}") from None
    if len(data) > lines.MAX_SIZE:
        raise UsageError(
            f"what is to be noted takes {len(data):,} bytes, at most {lines.MAX_SIZE:,} are read",
            hint="keep long texts in a file of their own",
        )
    return data


def read_again(data: bytes, read: Callable[[bytes], object]) -> bytes:
    """Return what is to be kept, if it can be read: once it has its name, it never changes.

    Raises:
        UsageError: ``read`` refuses it.
    """
    try:
        read(data)
    except MvcError as error:
        raise UsageError(
            f"what was given could not be read again: {error.message}", hint="nothing was written"
        ) from None
    return data


def timestamp(moment: datetime) -> str:
    """Write a moment as records have it: RFC 3339, UTC, microseconds."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> str:
    """Return this moment as records have it."""
    return timestamp(datetime.now(timezone.utc))


def parse_time(text: str) -> datetime:
    """Read what ``timestamp`` wrote."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
