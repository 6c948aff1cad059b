"""Download: a file of another machine, fetched once, wholly, and never twice.

What has come stays when a transfer breaks off, and the next attempt, of this
process or a later one, asks for the rest, if the source has not changed. Only
a whole file, compared with its digest where one is known, gets its name.

What is promised, and the order of writes: ``docs/importing.md``.
Public names: ``download``.
"""

from __future__ import annotations

import time
from pathlib import Path

from mvc import fileio, progress
from mvc.errors import (
    Busy,
    Conflict,
    MvcError,
    MvcWarning,
    NotFound,
    RemoteFailed,
    is_denied,
    warn,
)
from mvc.partfile import PartFile
from mvc.registry.imports import cached as cache
from mvc.registry.imports.address import Address
from mvc.registry.imports.cached import Cached, Restore, Slot
from mvc.registry.imports.request import Passing
from mvc.registry.imports.transfer import Downloaded, Transfer, Wanted

# So many attempts in a row may bring less than this; what brings more starts the count again.
ATTEMPTS = 5
PROGRESS = 1 << 20
# Seconds: the first pause, the longest, and the longest that a server may ask for.
PAUSE, LONGEST_PAUSE, LONGEST_WISH = 1.0, 30.0, 60.0
# Seconds that another import of the same file may bring nothing, before nobody waits for it.
OTHERS_PATIENCE = 120.0


def download(
    address: Address,
    folder: Path,
    *,
    wanted: Wanted | None = None,
    offline: bool = False,
    restore: Restore = lambda slot: None,
) -> Downloaded:
    """Have the file of an address in ``folder``, downloading what is not there.

    Args:
        wanted: Its digest. What is cached and has it is not asked for.
        offline: Take what is cached, or nothing.
        restore: Asked to bring back what is not in ``folder`` any more, if it can.

    Raises:
        NotFound: It is not cached, and ``offline``.
        RemoteFailed: It cannot be downloaded, or is not what was wanted.
        Busy: Another process is downloading it and gets nowhere.
        Conflict: What has come was deleted meanwhile.
        MvcError: There is not enough space.
    Warns:
        MvcWarning: The server could not be asked whether what is cached is still right.
    """
    slot = Slot(folder, address)
    have = _right(slot.whole(), wanted)
    if have is None:
        restore(slot)
        have = _right(slot.whole(), wanted)
    if have is not None and wanted is not None:
        return Downloaded(have)
    if offline:
        return Downloaded(_offline(address, slot, have))
    return _downloaded(address, slot, have, wanted)


def _downloaded(
    address: Address, slot: Slot, have: Cached | None, wanted: Wanted | None
) -> Downloaded:
    """Have what the server has now; ``have`` is cached and may be that."""
    part = _claimed_beside(slot, have)
    try:
        if slot.note() != (have and have.note):  # another process has brought it just now
            have = _right(slot.whole(), wanted)
            if have is not None and (address.whole or wanted is not None):
                return Downloaded(have)
        return _persist(Transfer(address, slot, part, have, wanted))
    except KeyboardInterrupt:
        if (kept := _kept(slot, part, wanted)) is not None:
            progress.note("{}", kept)
        raise
    except Passing as failure:
        if have is None or not address.whole:
            failure.hint = _kept(slot, part, wanted) or failure.hint
            raise
        warn(f"{failure.message}: what was downloaded on {_day(have)} is taken", MvcWarning)
        return Downloaded(have)
    except RemoteFailed as failure:
        if have is not None:
            failure.hint = f"--offline takes what was downloaded on {_day(have)}"
        raise
    except FileNotFoundError:
        raise Conflict(
            f"'{slot.folder}' was deleted while a file was downloaded into it",
            hint="run this again",
        ) from None
    finally:
        _leave(slot, part)


def _right(have: Cached | None, wanted: Wanted | None) -> Cached | None:
    """Return what is cached, unless it is known to be another file than is wanted."""
    if have is not None and wanted is not None and not have.sha256.startswith(wanted.sha256):
        return None
    return have


def _offline(address: Address, slot: Slot, have: Cached | None) -> Cached:
    if have is not None and address.whole:
        return have
    if have is not None:
        raise NotFound(
            f"whether '{slot.url}' is the file that is cached cannot be told: what else was in "
            "its address is never noted",
            hint=f"mvc add FAMILY '{have.path}' takes that file",
        )
    raise NotFound(
        f"'{slot.url}' is not cached, and may not be downloaded offline",
        hint="do it once without --offline and MVC_OFFLINE, where there is a network",
    )


def _day(have: Cached) -> str:
    return (have.note.downloaded or "?")[:10]


def _claimed_beside(slot: Slot, have: Cached | None) -> PartFile:
    """Return the part file; where none can be, say how to take what is cached."""
    try:
        return _claim(slot)
    except OSError as error:
        if have is None or not is_denied(error):
            raise
        raise MvcError(
            f"'{slot.folder}' may not be written to, so nothing newer could be downloaded",
            hint=f"--offline takes what was downloaded on {_day(have)}",
        ) from None


def _claim(slot: Slot) -> PartFile:
    """Return the part file, once no other process holds it."""
    last, since, waited = -1, time.monotonic(), False
    while (part := _claimed(slot)) is None:
        if not waited:
            progress.note("waiting for another process that downloads {}", slot.url)
        waited = True
        size = slot.part_size()
        if size != last:
            last, since = size, time.monotonic()
        elif time.monotonic() - since > OTHERS_PATIENCE:
            raise Busy(
                f"another process is downloading '{slot.url}', and nothing comes",
                hint="end it, then run this again; what has come is kept",
            )
        time.sleep(0.1)
    return part


def _claimed(slot: Slot) -> PartFile | None:
    try:
        slot.make()
        return PartFile.claim(slot.part)
    except FileNotFoundError:  # somebody took the folder away, as who was sent nothing does
        return None


def _persist(transfer: Transfer) -> Downloaded:
    """Try until it is whole, or as often as makes sense."""
    failures, furthest, reached = 0, transfer.size, False
    while True:
        try:
            transfer.attempt()
            return transfer.finish()
        except Passing as failure:
            reached = reached or failure.reached
            failures = 1 if transfer.size - furthest >= PROGRESS else failures + 1
            furthest = max(furthest, transfer.size)
            pause = min(PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
            if failure.after is not None:
                pause = max(pause, failure.after)
            if not reached or failures >= ATTEMPTS or pause > LONGEST_WISH:
                raise _gave_up(failure, failures, pause) from None
            progress.note("{}; asking again in {:g} s", failure.message, pause)
            time.sleep(pause)


def _leave(slot: Slot, part: PartFile) -> None:
    """Keep what a later call can go on from, and nothing else."""
    findable = part.path.name == cache.PART
    if part.is_there() and not (part.size and findable):
        slot.clear_part_note()  # before others may have one of theirs
        fileio.remove(part.path)
    part.close()
    fileio.delete_folder(slot.folder)  # if nothing came


def _kept(slot: Slot, part: PartFile, wanted: Wanted | None) -> str | None:
    """Say that what has come is not lost, if the next call can go on from it."""
    note = slot.part_note()
    if note is None or not part.size or part.path.name != cache.PART:
        return None
    if note.validator is None and wanted is None:
        return None
    whole = f" of {note.size:,}" if note.size is not None else ""
    return f"{part.size:,}{whole} bytes are kept; the same command goes on from there"


def _gave_up(failure: Passing, failures: int, pause: float) -> Passing:
    if pause > LONGEST_WISH:
        failure.message += f", and wants to be asked again in {pause:.0f} s"
    elif failures > 1:
        failure.message += f"; tried {failures} times"
    return failure
