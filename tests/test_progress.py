"""Progress: what a listener is told, and that nobody else notices."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mvc import ModelRegistry, progress
from mvc.errors import MvcWarning
from mvc.store.pipeline import in_order


def test_a_job_is_told_of_from_its_beginning_to_its_end() -> None:
    """A listener hears of a job when it begins, when it comes further, and when it ends."""
    seen: list[tuple[int, int | None, bool]] = []
    with progress.listening(lambda job: seen.append((job.done, job.total, job.ended))):
        with progress.job("reading model.pt", 30):
            progress.advance(10)
            progress.advance(20)
        progress.advance(5)  # of no job
    progress.advance(5)
    assert seen == [(0, 30, False), (10, 30, False), (30, 30, False), (30, 30, True)]


def test_a_job_that_fails_ends_as_well() -> None:
    """Whatever ends a job, its listener is told, and the error goes on."""
    ended: list[bool] = []
    listening = progress.listening(lambda job: ended.append(job.ended))
    with pytest.raises(KeyboardInterrupt), listening, progress.job("reading", 30):
        raise KeyboardInterrupt
    assert ended == [False, True]


def test_threads_tell_of_the_job_they_work_for() -> None:
    """What passes in worker threads is counted, all of it, by one thread at a time."""
    inside: list[int] = []
    most: list[int] = []
    last: list[progress.Job] = []

    def listen(job: progress.Job) -> None:
        inside.append(1)
        most.append(len(inside))
        last[:] = [job]
        inside.pop()

    with progress.listening(listen), progress.job("reading", 2000):
        for _ in in_order(range(200), lambda _: progress.advance(10)):
            pass
    assert (last[0].done, last[0].ended, max(most)) == (2000, True, 1)


def test_other_threads_tell_nothing() -> None:
    """A listener hears of its own calls only, not of what happens beside them."""
    seen: list[str] = []

    def other() -> None:
        with progress.job("somebody else's"):
            progress.advance(1)

    with progress.listening(lambda job: seen.append(job.title)):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == []


def test_a_listener_that_fails_harms_no_job() -> None:
    """A fault of the listener is warned of once; the job goes on and ends."""

    def broken(job: progress.Job) -> None:
        raise ValueError("no such widget")

    def call() -> int:
        with progress.listening(broken), progress.job("reading", 3):
            progress.advance(1)
            progress.advance(2)
        return 3

    assert call() == 3  # where warnings are errors
    with pytest.warns(MvcWarning, match="ValueError: no such widget") as warned:
        assert call() == 3
    assert len(warned) == 1


def test_a_total_is_asked_for_only_if_somebody_listens() -> None:
    """To know how much there is may cost something, and nobody pays it for nothing."""
    asked: list[int] = []

    def total() -> int:
        asked.append(1)
        return 7

    with progress.job("checking", total):
        pass
    with progress.listening(said=print), progress.job("checking", total):
        pass
    assert asked == []
    with progress.listening(lambda job: None), progress.job("checking", total):
        pass
    assert asked == [1]


def test_what_is_said_is_put_into_words_only_for_a_listener() -> None:
    """``say`` costs nothing where nobody listens, and a fault in words harms nobody."""

    class Costly:
        def __str__(self) -> str:
            raise AssertionError("nobody asked")

    progress.say("store {}", Costly())
    heard: list[str] = []
    with progress.listening(said=heard.append):
        progress.say("store {}", "/srv/models")
    assert heard == ["store /srv/models"]


def test_all_that_passes_bytes_tells_all_of_them(tmp_path: Path) -> None:
    """Each call's jobs end with as many bytes done as they said there were."""
    from tests.cli.running import write_model

    big = write_model(tmp_path / "big.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    for seed in (2, 3):
        write_model(folder / f"{seed}.safetensors", seed)
    registry = ModelRegistry(tmp_path)
    jobs: list[progress.Job] = []

    def listen(job: progress.Job) -> None:
        if job.ended:
            jobs.append(job)

    with progress.listening(listen):
        registry.add("one", big)
        registry.add("many", folder)
        registry.checkout("one", tmp_path / "out.safetensors")
        registry.checkout("many", tmp_path / "out")
        registry.path("many")
        registry.path("one")
        registry.fsck("full")
        registry.diff("one", "many:2.safetensors")
        registry.move_store(tmp_path / "store")
        (tmp_path / "fresh").mkdir()
        write_model(tmp_path / "fresh/new.safetensors", 4)
        registry.status(tmp_path / "fresh")
    assert [job.title for job in jobs] == [
        "reading big.safetensors",
        "reading folder",
        "writing one/v1",
        "writing many/v1",
        "making 2 files",
        "making big.safetensors",
        "checking packs",
        "comparing tensors",
        "copying packs",
        "reading new.safetensors",
    ]
    assert [job.total for job in jobs] == [job.done for job in jobs]
    assert all(job.done for job in jobs)


def test_what_a_waiting_person_wants_to_know_is_told_apart() -> None:
    """A note goes to who listens for notes, and to nobody else."""
    said: list[str] = []
    noted: list[str] = []
    with progress.listening(said=said.append, noted=noted.append):
        progress.note("asking again in {:g} s", 4)
        progress.say("at {}", "home")
    progress.note("nobody listens")
    assert (said, noted) == (["at home"], ["asking again in 4 s"])
