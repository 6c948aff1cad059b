"""Values: what ``-m``, ``-p``, ``-l``, ``--label`` and ``--input-shape`` are given.

A text becomes a number only if nothing is lost by it: ``1.10`` may be the
name of a release, ``007`` that of an agent, and both stay text.

Public names: ``metrics``, ``values``, ``labels``, ``shape``, ``value_of``, ``is_metric``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mvc.errors import UsageError

# Beyond this other readers of JSON and YAML no longer agree on an integer.
_MOST_INTEGER = 1 << 63

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_POINT = re.compile(r"(-?)([0-9]*)\.([0-9]+)")
# One digit before the point and a short exponent, as a number is written for
# people; 1234e56 and 5e10341 are likelier the beginning of a git commit.
_POWER = re.compile(r"(-?[1-9])(?:\.([0-9]+))?[eE]([+-]?)0*([0-9]{1,3})")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf)",
                     re.IGNORECASE)  # fmt: skip
_NAME_IS_NUMBER = re.compile(r"[^=,]+=(?:" + _NUMBER.pattern + ")", re.IGNORECASE)


def metrics(texts: Sequence[str], shown: str = "-m") -> dict[str, float | int]:
    """Read ``acc=0.95`` items.

    Raises:
        UsageError: One is no NAME=NUMBER; the hint says what was likely meant.
    """
    return {
        name: _metric(name, text, shown) for name, text in _split(texts, shown, "NUMBER").items()
    }


def values(texts: Sequence[str], shown: str) -> dict[str, float | int | str]:
    """Read ``lr=1e-5`` items; see ``value_of``."""
    return {name: value_of(text) for name, text in _split(texts, shown, "VALUE").items()}


def labels(texts: Sequence[str]) -> dict[str, str]:
    """Read ``team=vision`` items as text."""
    return _split(texts, "--label", "TEXT")


def shape(text: str | None) -> tuple[int, ...] | None:
    """Read ``1,3,224,224``; ``x`` or a space between the numbers is understood as well."""
    if text is None:
        return None
    parts = re.split(r"\s*[,x×]\s*|\s+", text.strip().strip("()[]"))
    if not all(re.fullmatch(r"[1-9][0-9]{0,9}", part) for part in parts):
        raise UsageError(f"'{text}' is no shape", hint="as in --input-shape 1,3,224,224")
    return tuple(int(part) for part in parts)


def value_of(text: str) -> float | int | str:
    """Return a number if writing it again gives the same digits, else the text."""
    if _INTEGER.fullmatch(text):
        whole = int(text)
        return whole if abs(whole) < _MOST_INTEGER else text
    if point := _POINT.fullmatch(text):
        sign, before, after = point.groups()
        value = float(text)
        return value if repr(value) == f"{sign}{before or '0'}.{after}" else text
    if power := _POWER.fullmatch(text):
        return _scientific(text, *power.groups(default=""))
    return text


def is_metric(text: str) -> bool:
    """Say whether ``text`` looks like ``loss=0.1``, a metric that lost its ``-m``."""
    return bool(_NAME_IS_NUMBER.fullmatch(text))


def _scientific(text: str, digit: str, after: str, sign: str, power: str) -> float | str:
    if after.endswith("0") and after != "0":
        return text
    value = float(text)
    fraction = "" if after == "0" else after
    written = f"{digit}.{fraction}" if fraction else digit
    exponent = int(power) * (-1 if sign == "-" else 1)
    mantissa, _, shown = f"{value:.{len(fraction)}e}".partition("e")
    whole = len(fraction) <= 16 and mantissa == written and int(shown or "9999") == exponent
    return value if whole else text


def _metric(name: str, text: str, shown: str) -> float | int:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    pieces = f"{name}={text}".split(",")
    if len(pieces) > 1 and all(map(is_metric, pieces)):
        hint = "every metric has its own: " + " ".join(f"{shown} {piece}" for piece in pieces)
    elif re.fullmatch(r"[+-]?[0-9]+,[0-9]+", text):
        hint = f"write a point: {shown} {name}={text.replace(',', '.')}"
    elif re.fullmatch(r"[0-9.]+%", text) and _NUMBER.fullmatch(text[:-1]):
        hint = f"write {shown} {name}={float(text[:-1]) / 100:.12g}"
    else:
        hint = f"as in {shown} acc=0.95; text goes into -p NAME=VALUE or --label NAME=TEXT"
    raise UsageError(f"{shown} wants NAME=NUMBER, not '{name}={text}'", hint=hint)


def _split(texts: Sequence[str], shown: str, kind: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"{shown} wants NAME={kind}", hint=_missing_hint(text, shown, kind))
        if name in found:
            raise UsageError(
                f"{shown} gives '{name}' twice: {found[name]} and {value.strip()}",
                hint="keep one of them",
            )
        found[name] = value.strip()
    return found


def _missing_hint(text: str, shown: str, kind: str) -> str:
    if kind != "NUMBER" or text.startswith("="):
        return f"as in {shown} name=value"
    if _NUMBER.fullmatch(text):
        return f"a metric has a name, as in {shown} acc={text}; a note is --message"
    if re.fullmatch(r"[A-Za-z0-9_./@-]+", text):
        return f"as in {shown} {text}=0.95; a note is --message"
    return "a note is --message"
