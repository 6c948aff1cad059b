"""Progress: how far a call has come, told to whoever listens.

::

    with progress.listening(lambda job: print(job.title, job.done, job.total)):
        registry.add("resnet18", "model.pt")

Nobody listens unless asked to, and then nothing is counted. What lets bytes
pass says so by ``advance``, in whatever thread; which job that is part of is
known from the context, so that nothing has to be handed down.

What is told when: ``docs/terminal.md``.
Public names: ``Job``, ``listening``, ``job``, ``advance``, ``say``, ``note``.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from mvc.errors import MvcWarning, warn


@dataclass(slots=True)
class Job:
    """Something that takes its time: what it is, and how many bytes of how many are done.

    ``total`` is ``None`` where nobody knows before. ``ended`` is true the last time it is told of.
    """

    title: str
    total: int | None
    done: int = 0
    ended: bool = False
    _tell: Callable[[Job], object] | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def _told(self, size: int = 0, *, ended: bool = False) -> None:
        with self._lock:
            self.done += size
            self.ended = ended
            if self._tell is not None:
                self._tell = self._tell if _called(self._tell, self) else None


@dataclass(frozen=True, slots=True)
class _Listener:
    moved: Callable[[Job], object] | None
    said: Callable[[str], object] | None
    noted: Callable[[str], object] | None


_listener: ContextVar[_Listener | None] = ContextVar("listener", default=None)
_job: ContextVar[Job | None] = ContextVar("job", default=None)


@contextlib.contextmanager
def listening(
    moved: Callable[[Job], object] | None = None,
    said: Callable[[str], object] | None = None,
    noted: Callable[[str], object] | None = None,
) -> Iterator[None]:
    """Be told of what is done meanwhile: by this thread, and by those it lets work for it.

    A listener is called by one thread at a time. What it raises is warned of, and it is
    told no more of that job; the job itself goes on.

    Args:
        moved: Called with a job when it begins, each time it has come further, and when it ends.
        said: Called with what is of interest besides, such as which store is used.
        noted: Called with what who waits would want to know, such as why nothing moves.
    """
    before = _listener.get()
    _listener.set(_Listener(moved, said, noted))
    try:
        yield
    finally:
        _listener.set(before)


@contextlib.contextmanager
def job(title: str, total: int | Callable[[], int | None] | None = None) -> Iterator[None]:
    """Do something of which it is told how far it has come.

    Args:
        title: What is done with which thing, as in ``reading model.pt``.
        total: How many bytes will pass; if that costs something to know, what is asked for it.
    """
    listener = _listener.get()
    if listener is None or listener.moved is None:
        yield
        return
    known = total() if callable(total) else total
    begun, before = Job(title, known, _tell=listener.moved), _job.get()
    _job.set(begun)  # not by a token: a generator may end in another context
    begun._told()
    try:
        yield
    finally:
        _job.set(before)
        begun._told(ended=True)


def advance(size: int) -> None:
    """Tell that so many bytes of the job under way are done."""
    if (current := _job.get()) is not None:
        current._told(size)


def say(text: str, *values: object) -> None:
    """Tell what may be of interest; ``values`` go into its ``{}``, if anybody listens."""
    listener = _listener.get()
    if listener is not None and listener.said is not None:
        _called(listener.said, text.format(*values))


def note(text: str, *values: object) -> None:
    """Tell what who waits would want to know; ``values`` go into its ``{}``."""
    listener = _listener.get()
    if listener is not None and listener.noted is not None:
        _called(listener.noted, text.format(*values))


def _called(listener: Callable[..., object], told: object) -> bool:
    """Say whether a listener could be told: its faults are not the job's."""
    try:
        listener(told)
    except Exception as error:
        with contextlib.suppress(MvcWarning):  # where warnings are errors
            reason = f"{type(error).__name__}: {error}"
            warn(f"the listener to progress failed: {reason}", MvcWarning)
        return False
    return True
