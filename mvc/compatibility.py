"""Which version of mvc's own formats this mvc writes, and what it makes of others.

One number stands in every file of lines (``mvc: 1``) and in every binary
header, because a registry is read as a whole. What it promises:
``docs/compatibility.md``.
Public names: ``FORMAT``, ``check_format``.
"""

from __future__ import annotations

from mvc.errors import FormatError, Unsupported

FORMAT = 1


def check_format(found: object, what: str) -> None:
    """Refuse what another format was used for.

    Raises:
        Unsupported: ``found`` is newer than ``FORMAT``, or from before the first.
        FormatError: ``found`` is no version at all.
    """
    if type(found) is not int or found < 0:
        raise FormatError(f"{what} does not say its format")
    if found > FORMAT:
        raise Unsupported(
            f"{what} has format {found}, this mvc reads {FORMAT}",
            hint="a newer mvc made it; upgrade to use it",
        )
    if found < FORMAT:
        raise Unsupported(
            f"{what} has format {found}, from before the first release; this mvc reads {FORMAT}",
            hint="check its versions out with the mvc that made it, and add them to a new registry",
        )
