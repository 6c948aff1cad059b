"""Work done ahead, in order: a bounded queue in front of a few threads.

Hashing, compression and reading release the interpreter's lock, so threads
keep all cores busy; the bound keeps memory flat whatever the file's size.

Public names: ``in_order``, ``Ahead``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

A = TypeVar("A")
B = TypeVar("B")

MOST_THREADS = 8


def thread_count() -> int:
    """Return how many threads keep this process's cores busy."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MOST_THREADS, mine or 1))


class Ahead(Generic[A, B]):
    """Calls handed to threads; results come back in the order of the calls.

    At most ``2 * thread_count()`` calls are under way or waiting, so
    ``submit`` first returns what must be taken away to make room.
    """

    def __init__(self, call: Callable[[A], B]) -> None:
        from concurrent.futures import ThreadPoolExecutor  # 7 ms that only bytes need

        self._call = call
        self._threads = ThreadPoolExecutor(thread_count())
        self._waiting: deque[tuple[A, Future[B]]] = deque()

    def submit(self, item: A) -> Iterator[tuple[A, B]]:
        """Hand over ``item``; yield results that are due."""
        called = copy_context().run  # who listens here is told of what is done there
        self._waiting.append((item, self._threads.submit(called, self._call, item)))
        while len(self._waiting) > 2 * thread_count():
            yield self._next()

    def drain(self) -> Iterator[tuple[A, B]]:
        """Yield all results that are left."""
        while self._waiting:
            yield self._next()

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _next(self) -> tuple[A, B]:
        item, future = self._waiting.popleft()
        return item, future.result()


def in_order(items: Iterable[A], call: Callable[[A], B]) -> Generator[tuple[A, B], None, None]:
    """Yield each item with ``call(item)``, computed ahead in threads until it is closed."""
    ahead: Ahead[A, B] = Ahead(call)
    try:
        for item in items:
            yield from ahead.submit(item)
        yield from ahead.drain()
    finally:
        ahead.close()
