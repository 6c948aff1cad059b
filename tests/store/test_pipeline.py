"""Work done ahead: in order, on few threads, and never far ahead."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest

from mvc.store import pipeline
from mvc.store.pipeline import Ahead, in_order, thread_count


def test_results_come_in_the_order_of_the_calls() -> None:
    """However long each call takes, results come back with their items, in order."""

    def slow(number: int) -> int:
        time.sleep((number % 3) * 0.002)
        return number * number

    assert list(in_order(range(40), slow)) == [(n, n * n) for n in range(40)]


def test_threads_and_work_ahead_are_bounded() -> None:
    """At most ``thread_count`` calls run at once, and items are taken only as results are."""
    running, most, taken = 0, 0, 0
    lock = threading.Lock()

    def call(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1
        return number

    def items() -> itertools.chain[int]:
        return itertools.chain.from_iterable(map(take, itertools.count()))

    def take(number: int) -> list[int]:
        nonlocal taken
        taken += 1
        return [number]

    results: Any = in_order(items(), call)
    for given, (item, result) in enumerate(itertools.islice(results, 100)):
        assert item == result == given
        assert taken - given <= 2 * thread_count() + 1
    results.close()
    assert 1 <= most <= thread_count() <= pipeline.MOST_THREADS


def test_an_error_comes_where_its_result_would() -> None:
    """Results before a failure are given, the failure is raised, and no thread is left behind."""

    def call(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    before = threading.active_count()
    seen: list[int] = []

    def consume() -> None:
        for item, _ in in_order(range(100), call):
            seen.append(item)

    with pytest.raises(ValueError, match="five"):
        consume()
    assert seen == [0, 1, 2, 3, 4]
    assert threading.active_count() == before


def test_closing_waits_for_the_running_and_drops_the_waiting() -> None:
    """After ``close`` no call is under way, so that buffers may be reused."""
    started, finished = [], []

    def call(number: int) -> None:
        started.append(number)
        time.sleep(0.01)
        finished.append(number)

    ahead = Ahead(call)
    for number in range(2 * thread_count()):
        assert list(ahead.submit(number)) == []
    ahead.close()
    assert sorted(started) == sorted(finished)
    assert len(started) <= 2 * thread_count()


def test_what_is_left_is_drained() -> None:
    """``submit`` gives what is due and ``drain`` the rest: together everything, once."""
    ahead: Ahead[int, int] = Ahead(lambda number: -number)
    given = [result for number in range(50) for _, result in ahead.submit(number)]
    left = [result for _, result in ahead.drain()]
    ahead.close()
    assert given + left == [-number for number in range(50)]
    assert len(left) == 2 * thread_count()
