"""Damage that follows from a random source: to bytes of any kind, and to lines of JSON."""

from __future__ import annotations

import random

NUMBERS = [0, 1, 2, 3, 4, 7, 8, 32, 64, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31]
NUMBERS += [2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
TOKENS = """
    null true 0 -1 1 1.5 -0.0 1e999 1.0e+05 NaN 18446744073709551616 [] {} [[]] "" "a" "../x" "/x"
    "v0" "v1" "v2" "v999999999" "\\u0000" "\\ud800" "\\n" "net" "NET" "CON" "nan" "inf" "2026-13-45"
    "b3:00" "tagged" "released" "withdrawn" "max" {"kind":"tagged"} {"kind":"exploded"} {"a":{}}
""".split()
TOKENS += ["9" * 500, "[" * 40 + "]" * 40, '"' + "x" * 5000 + '"', '"\\u2028"', '"é"', "\x00", "'"]


def damaged(data: bytes, source: random.Random) -> bytes:
    """Return bytes with one wound or several: flips, numbers, cuts, insertions, repeats."""
    wounded = bytearray(data)
    reach = source.choice([64, 256, len(data)])  # structure is mostly at the ends
    for _ in range(source.choice([1, 1, 1, 2, 4, 16])):
        offset = source.randrange(min(reach, len(wounded)) or 1)
        at = offset if source.random() < 0.5 else max(0, len(wounded) - 1 - offset)
        _wound(wounded, at, source)
    return bytes(wounded)


def _wound(data: bytearray, at: int, source: random.Random) -> None:
    size = source.choice([1, 2, 4, 8, 32])
    match source.randrange(7):
        case 0:
            data[at : at + 1] = bytes([source.randrange(256)])
        case 1 if data:
            data[at] ^= 1 << source.randrange(8)
        case 2:
            width = source.choice([1, 2, 4, 8])
            number = source.choice([*NUMBERS, len(data), at]) % 256**width
            data[at : at + width] = number.to_bytes(width, "little")
        case 3:
            del data[at : source.choice([at + size, at + size, len(data)])]
        case 4:
            data[at:at] = data[at : at + size] * source.choice([1, 1, 2, 500])
        case 5:
            start = source.randrange(len(data) or 1)
            data[at : at + size] = data[start : start + size]
        case _:
            data[at : at + size] = source.randbytes(size)


def damaged_lines(data: bytes, source: random.Random) -> bytes:
    """Return lines with a wound where they mean something: a value, a key, a line, its order."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    for _ in range(source.choice([1, 1, 1, 2, 5])):
        at = source.randrange(len(lines))
        match source.randrange(7):
            case 0:
                lines[at] = lines[at].partition(": ")[0] + ": " + source.choice(TOKENS)
            case 1:
                pieces = lines[at].split(" ")
                pieces[source.randrange(len(pieces))] = source.choice(TOKENS)
                lines[at] = " ".join(pieces)
            case 2:
                lines.insert(at, source.choice(lines))
            case 3:
                lines[at] = lines[at].replace(source.choice('",:[]{}b0'), source.choice(TOKENS), 1)
            case 4 if len(lines) > 1:
                del lines[at]
            case 5:
                other = source.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                head, _, tail = lines[at].partition(source.choice([", ", '"', ": "]))
                lines[at] = head + tail
    return "\n".join(lines).encode("utf-8", "surrogateescape")
