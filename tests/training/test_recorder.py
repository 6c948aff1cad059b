"""What becomes of checkpoints, whatever trainer saved them: real files and the real process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvc import ModelRegistry, UsageError
from mvc.training.recorder import Checkpoint, Options, Recorder
from tests.support.registry_builders import Project
from tests.training.conftest import (
    PATIENCE,
    checkpoint,
    killed,
    left_over,
    pid,
    run_script,
    stopped,
    until,
    versions,
)

MakeRecorder = Callable[..., Recorder]
Said = Callable[[], list[str]]


def test_each_checkpoint_is_a_child_of_the_one_before(
    project: Project, recorder: MakeRecorder
) -> None:
    """Versions bear metrics, step and name, and a run's second is the child of its first."""
    mine = recorder(parents=[project.add(b"pretrained")], labels={"run": "a"})
    for step in (1, 2):
        mine.save(
            Checkpoint(
                str(checkpoint(project, step)), {"acc": step / 10}, {"step": step, "epoch": 0}
            )
        )
        until(lambda: not left_over(project.folder))
    mine.end()
    _, first, second = versions(project)
    assert [one["id"] for one in first.lineage["parents"]] == ["net/v1"]
    assert [one["id"] for one in second.lineage["parents"]] == ["net/v2"]
    assert second.metrics == {"acc": 0.2}
    assert second.lineage["step"] == 2
    assert (second.artifact.name, second.labels) == ("step-2.bin", {"run": "a"})
    assert mine.summary.versions == ("net/v2", "net/v3")
    assert left_over(project.folder) == []


def test_no_checkpoint_is_given_up_for_its_parent(
    project: Project, recorder: MakeRecorder, said: Said
) -> None:
    """A parent that was withdrawn is named with a warning; one that is not there is left out."""
    project.registry().init()
    mine = recorder(parents=["gone@v1"])
    for step in (1, 2, 3):
        mine.save(Checkpoint(str(checkpoint(project, step)), {}, {}))
        until(lambda: not left_over(project.folder))
        if step == 1:
            project.registry().rm("net@v1")
    mine.end()
    assert (mine.summary.versions, mine.summary.failed) == (("net/v1", "net/v2", "net/v3"), 0)
    found = [project.registry().manifest.record("net", number)[0] for number in (1, 2, 3)]
    parents = [[one["id"] for one in record.lineage["parents"]] for record in found]
    assert parents == [[], ["net/v1"], ["net/v2"]]
    assert any("is added without its parent gone@v1: no family 'gone'" in text for text in said())
    assert any("the parent net/v1 was withdrawn on" in text for text in said())


def test_what_is_deleted_or_replaced_at_once_is_registered_as_it_was(
    project: Project, recorder: MakeRecorder
) -> None:
    """Once ``save`` returned, the trainer's file and folder may go, before a byte was read."""
    mine = recorder()
    path = checkpoint(project, 1)
    mine.save(Checkpoint(str(path), {}, {}))
    until(lambda: not left_over(project.folder))
    stopped(pid(mine))
    folder = project.folder / "checkpoints" / "deep"
    (folder / "part").mkdir(parents=True)
    (folder / "part" / "w.bin").write_bytes(b"weights" * 999)
    (folder / "config.json").write_text("{}")
    mine.save(Checkpoint(str(folder), {}, {}))
    (folder / "part" / "w.bin").unlink()
    (folder / "config.json").unlink()
    os.kill(pid(mine), signal.SIGCONT)
    mine.end()
    target = project.registry().checkout("net@v2", project.folder / "out").path
    assert (target / "part" / "w.bin").read_bytes() == b"weights" * 999
    assert (target / "config.json").read_text() == "{}"


def test_a_folder_with_what_cannot_be_kept_is_told_of(
    project: Project, recorder: MakeRecorder, said: Said
) -> None:
    """A link to a folder is not passed over in silence: the checkpoint is counted as failed."""
    folder = project.folder / "checkpoints" / "one"
    folder.mkdir(parents=True)
    (folder / "w.bin").write_bytes(b"weights")
    (folder / "more").symlink_to(project.folder)
    mine = recorder()
    mine.save(Checkpoint(str(folder), {}, {}))
    mine.end()
    assert mine.summary.failed == 1
    assert "is a link to a folder" in said()[0]
    assert left_over(folder.parent) == []


def test_what_is_said_of_a_checkpoint_names_the_trainers_own_folder(
    project: Project, recorder: MakeRecorder, said: Said
) -> None:
    """The second name that it was added by is gone before anybody can look at it."""
    mine = recorder()
    for name, file in (("half", "model.safetensors"), ("never", "NUL\x7f.bin")):
        folder = project.folder / "checkpoints" / name
        folder.mkdir(parents=True)
        (folder / file).write_bytes(b"")
        (folder / "config.json").write_text("{}")
        mine.save(Checkpoint(str(folder), {}, {}, beside=folder.parent))
        until(lambda: not left_over(project.folder))
    mine.end()
    above = project.folder / "checkpoints"
    assert f"'{above}/half/model.safetensors' is empty" in said()[0]
    assert f"in '{above}/never': 'NUL\\x7f.bin' holds a control character" in said()[1]
    assert not [text for text in [*said(), str(mine.summary)] if ".mvc-new-" in text]


def test_the_second_name_may_lie_elsewhere(project: Project, recorder: MakeRecorder) -> None:
    """Where all in the folder of the checkpoints is uploaded, nothing is put into it."""
    mine = recorder()
    stopped(pid(mine))
    path = checkpoint(project, 1)
    mine.save(Checkpoint(str(path), {}, {}, beside=path.parent))
    assert [found.parent for found in left_over(project.folder)] == [project.folder]
    os.kill(pid(mine), signal.SIGCONT)
    mine.end()
    assert mine.summary.versions == ("net/v1",)


def test_names_that_go_while_a_file_is_read_are_no_change(
    project: Project, recorder: MakeRecorder
) -> None:
    """The trainer rotates a checkpoint away while it is being added: it is added all the same."""
    mine = recorder()
    path = checkpoint(project, 1, size=64 << 20)
    mine.save(Checkpoint(str(path), {}, {}))
    reading = f"{left_over(project.folder)[0]}/{path.name}"
    until(lambda: _has_open(pid(mine), reading) or not left_over(project.folder))
    path.unlink()
    mine.end()
    assert mine.summary.versions == ("net/v1",)


def _has_open(process: int, path: str) -> bool:
    """Say whether a process has a file open, and had for a while."""
    for _ in range(2):
        found = []
        for one in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):  # it was closed meanwhile
                found.append(os.readlink(one))
        if path not in found:
            return False
        time.sleep(0.005)
    return True


def test_what_is_overwritten_in_place_is_not_registered_as_what_it_was(
    project: Project, recorder: MakeRecorder, said: Said
) -> None:
    """A file that is written to before it was read is no version with the old one's metrics."""
    mine = recorder()
    until(lambda: Path(f"/proc/{pid(mine)}/cmdline").exists())
    stopped(pid(mine))
    path = checkpoint(project, 1)
    mine.save(Checkpoint(str(path), {"acc": 1.0}, {}))
    os.utime(path, ns=(1, 1))
    os.kill(pid(mine), signal.SIGCONT)
    mine.end()
    assert mine.summary.failed == 1
    assert "'step-1.bin' was written to after it was saved" in said()[0]
    assert project.registry().list() == []
    assert left_over(project.folder) == []


def test_of_those_that_wait_the_newest_is_kept(project: Project, recorder: MakeRecorder) -> None:
    """While one is added, older ones that wait are passed over and counted."""
    mine = recorder()
    mine.save(Checkpoint(str(checkpoint(project, 1)), {}, {"step": 1}))
    until(lambda: len(project.registry().list()) == 1)
    stopped(pid(mine))
    for step in range(2, 7):
        mine.save(Checkpoint(str(checkpoint(project, step)), {}, {"step": step}))
    os.kill(pid(mine), signal.SIGCONT)
    mine.end()
    assert versions(project)[-1].lineage["step"] == 6
    assert len(mine.summary.versions) + mine.summary.passed_over == 6
    assert mine.summary.passed_over >= 1
    assert left_over(project.folder) == []


def test_the_best_is_added_in_the_end_though_it_was_passed_over(
    project: Project, recorder: MakeRecorder
) -> None:
    """A newer one that waits takes the best one's place, but not for good."""
    mine = recorder()
    mine.save(Checkpoint(str(checkpoint(project, 1)), {}, {}))
    until(lambda: len(project.registry().list()) == 1)
    stopped(pid(mine))
    best, newer = (
        Checkpoint(str(checkpoint(project, step)), {"acc": 1 / step}, {"step": step})
        for step in (2, 3)
    )
    for one in (newer, best, newer):  # one may be taken at once
        mine.save(one)
    os.kill(pid(mine), signal.SIGCONT)
    mine.end(best)
    found = [one.lineage.get("step") for one in versions(project)]
    assert found.count(2) == 1
    assert 3 in found


@pytest.mark.parametrize(
    ("best", "source"), [(("loss", "min"), "known"), (("score", "min"), "event")]
)
def test_best_is_what_the_trainer_goes_by(
    project: Project, best: tuple[str, str], source: str
) -> None:
    """In a new family ``best`` means the monitored metric, whatever its name would say."""
    mine = Recorder(Options("net", project.folder, "all", 60.0, {}))
    mine.begin({}, best)
    mine.save(Checkpoint(str(checkpoint(project, 1)), {best[0]: 0.5, "acc": 1.0}, {}))
    mine.end()
    rule, _ = project.registry().best("net")
    assert rule is not None
    assert (rule.metric, rule.mode, rule.source) == (*best, source)


def test_nothing_is_read_while_the_trainer_waits(project: Project, recorder: MakeRecorder) -> None:
    """To secure a checkpoint, the training's process neither reads nor writes its bytes."""
    mine = recorder()
    path = checkpoint(project, 1, size=32 << 20)
    before = _moved()
    mine.save(Checkpoint(str(path), {}, {}))
    assert _moved() - before < 100_000
    mine.end()
    assert mine.summary.versions == ("net/v1",)


def _moved() -> int:
    """Return the bytes that this process has read and written by calls."""
    lines = Path("/proc/self/io").read_text().splitlines()
    counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"]) + int(counts["wchar"])


def test_without_hard_links_it_is_copied(
    project: Project, recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that has no links a checkpoint is registered as well, as it was."""

    def refused(*args: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    mine = recorder()
    path = checkpoint(project, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refused)
        mine.save(Checkpoint(str(path), {}, {}))
    path.write_bytes(b"something else")
    mine.end()
    assert project.registry().path("net").read_bytes() == bytes([1]) * 1000


def test_the_same_checkpoint_again_is_no_new_version(
    project: Project, recorder: MakeRecorder
) -> None:
    """What equals the version before it, though that is now its parent, is counted as the same."""
    mine = recorder()
    for _ in range(2):
        mine.save(Checkpoint(str(checkpoint(project, 1)), {"acc": 1.0}, {"step": 1}))
        until(lambda: not left_over(project.folder))
    mine.end()
    assert mine.summary.versions == ("net/v1",)
    assert mine.summary.same == 1


def test_the_commit_is_that_of_the_beginning(
    project: Project, recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that is committed while the training runs is not the code that it runs."""
    git(project.folder, "init", "-q")
    git(project.folder, "commit", "-q", "--allow-empty", "-m", "one")
    monkeypatch.chdir(project.folder)
    first = git(project.folder, "rev-parse", "HEAD")
    mine = recorder()
    mine.save(Checkpoint(str(checkpoint(project, 1)), {}, {}))
    until(lambda: len(project.registry().list()) == 1)
    git(project.folder, "commit", "-q", "--allow-empty", "-m", "two")
    mine.save(Checkpoint(str(checkpoint(project, 2)), {}, {}))
    mine.end()
    assert [one.lineage["code"]["git"] for one in versions(project)] == [first, first]


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_two_runs_share_a_family(project: Project, recorder: MakeRecorder) -> None:
    """Checkpoints of two runs at once are versions of one family, each a child in its own run."""
    runs = [recorder(labels={"run": name}) for name in "ab"]
    for step in range(1, 5):
        for number, mine in enumerate(runs):
            mine.save(Checkpoint(str(checkpoint(project, 10 * number + step)), {}, {"step": step}))
            until(lambda: not left_over(project.folder))
    for mine in runs:
        mine.end()
    found = versions(project)
    assert len(found) == 8
    by_run = {name: [v.id for v in found if v.labels["run"] == name] for name in "ab"}
    for version in found:
        own = by_run[version.labels["run"]]
        before = own[: own.index(version.id)][-1:]
        assert [one["id"] for one in version.lineage["parents"]] == before
    assert project.registry().fsck().ok


def test_a_run_that_goes_on_from_a_version_is_its_child(
    project: Project, recorder: MakeRecorder
) -> None:
    """What a training is resumed from is found among the versions by its bytes."""
    project.add(b"other", family="other", name="w.bin")
    project.add_folder({"w.bin": b"weights", "config.json": b"{}"})
    project.add(b"newer")
    mine = recorder(resumed=project.file(b"weights", "resumed.bin"))
    mine.save(Checkpoint(str(checkpoint(project, 1)), {}, {}))
    mine.end()
    assert [one["id"] for one in versions(project)[-1].lineage["parents"]] == ["net/v1"]


def test_parents_are_given_as_to_register(project: Project, recorder: MakeRecorder) -> None:
    """A version or a ref, one or several; a ref is what it meant when the training began."""
    given = project.registry().add("base", project.file(b"given", "given.bin"))
    project.add(b"before")
    for parents, ids in (([given, "net@latest"], ["base/v1", "net/v1"]), (given, ["base/v1"])):
        mine = recorder(parents=parents)
        mine.save(Checkpoint(str(checkpoint(project, 1)), {"": 1.0}, {}))  # refused: no such name
        until(lambda: not left_over(project.folder))
        project.add(b"meanwhile")
        mine.save(Checkpoint(str(checkpoint(project, 2)), {}, {}))
        mine.end()
        assert [one["id"] for one in versions(project)[-1].lineage["parents"]] == ids


def test_a_registry_is_the_one_that_was_given(project: Project) -> None:
    """A ``ModelRegistry`` may be given instead of a folder, with its store and its rights."""
    registry = ModelRegistry(project.folder, create=False)
    mine = Recorder(Options("net", registry, "all", 60.0, {}))
    mine.begin({}, None)
    mine.save(Checkpoint(str(checkpoint(project, 1)), {}, {}))
    mine.end()
    assert mine.summary.failed == 1
    assert not project.mvc.exists()


def test_a_registry_made_unasked_is_told_of(
    project: Project, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training begun in the wrong folder says where its versions go, at once and at the end."""
    monkeypatch.chdir(project.folder)
    mine = Recorder(Options("net", None, "all", PATIENCE, {}))
    mine.begin({}, None)
    assert said() == [f"mvc: no registry here or above, so one is made: {project.mvc}"]
    mine.save(Checkpoint(str(checkpoint(project, 1)), {}, {}))
    mine.end()
    assert f"net/v1; in {project.mvc}; " in str(mine.summary)
    mine.begin({}, None)
    mine.end()
    assert len(said()) == 1


def test_a_registry_that_cannot_be_is_one_warning(
    project: Project, recorder: MakeRecorder, said: Said
) -> None:
    """Where no registry can be made, each checkpoint is counted and the first is told of."""
    project.file(b"", "in-the-way")
    mine = recorder(folder=project.folder / "in-the-way" / "here")
    for step in (1, 2, 3):
        mine.save(Checkpoint(str(checkpoint(project, step)), {}, {}))
        until(lambda: not left_over(project.folder))
    mine.end()
    assert mine.summary.failed == 3
    assert len(said()) == 1
    assert "in-the-way" in said()[0]
    assert "the training goes on" in said()[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of three megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_warning_and_later_ones_go_on(
    project: Project, small_disk: Path, recorder: MakeRecorder, said: Said
) -> None:
    """What does not fit is counted; what comes later and fits is registered."""
    mine = recorder(folder=small_disk)
    mine.save(Checkpoint(str(checkpoint(project, 1, size=4 << 20)), {}, {}))
    until(lambda: not left_over(project.folder))
    mine.end()
    assert mine.summary.failed == 1
    assert "bytes" in said()[0]
    assert mine.summary.versions == ()


def test_a_store_that_cannot_be_written_to_is_told_at_the_beginning(
    project: Project, small_disk: Path, recorder: MakeRecorder, said: Said
) -> None:
    """A read-only disk is one warning, before the first checkpoint, and the end goes well."""
    Project(small_disk).add(b"weights")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    mine = recorder(folder=small_disk)
    worker = mine._worker
    assert worker is not None
    until(lambda: worker._ours.poll())
    mine.save(Checkpoint(str(checkpoint(project, 1)), {}, {}))
    assert len(said()) == 1
    mine.end()
    assert mine.summary.failed == 1
    assert len(said()) == 1
    assert str(small_disk) in said()[0]


def test_a_process_that_dies_is_followed_by_another(
    project: Project, recorder: MakeRecorder, said: Said
) -> None:
    """When what adds is killed, what it had is counted and removed, and the next one is added."""
    mine = recorder()
    stopped(pid(mine))
    mine.save(Checkpoint(str(checkpoint(project, 1)), {}, {}))
    killed(pid(mine))
    mine.save(Checkpoint(str(checkpoint(project, 2)), {}, {"step": 2}))
    mine.end()
    assert mine.summary.failed == 1
    assert [one.lineage["step"] for one in versions(project)] == [2]
    assert len(said()) == 1
    assert left_over(project.folder) == []


def test_the_end_does_not_wait_for_ever(project: Project, recorder: MakeRecorder) -> None:
    """After ``wait`` seconds the training ends, and the checkpoint is added all the same."""
    mine = recorder(wait=0.0)
    adding = pid(mine)
    stopped(adding)
    mine.save(Checkpoint(str(checkpoint(project, 1)), {}, {}))
    mine.end()
    assert mine.summary.unfinished == 1
    os.kill(adding, signal.SIGCONT)
    until(lambda: project.registry().list() == ["net"])
    until(lambda: not left_over(project.folder))


@pytest.fixture(params=["xfs", "btrfs"])
def cloning_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk whose file system has reflinks."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(1 << 30)
    make, mount = f"mkfs.{request.param} {image}", f"mount -o loop {image} {folder}"
    for command in (make.split(), mount.split()):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"there is no {command[0]} here")
        if done.returncode:
            pytest.skip(f"cannot be made here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.long
def test_with_reflinks_a_write_in_place_comes_too_late(cloning_disk: Path) -> None:
    """While a checkpoint waits it is a file of its own, which the trainer cannot write to."""
    project = Project(cloning_disk)
    mine = Recorder(Options("net", cloning_disk, "all", PATIENCE, {}))
    mine.begin({}, None)
    large = checkpoint(project, 1, size=256 << 20)
    small = checkpoint(project, 2)
    before = small.stat().st_ino
    mine.save(Checkpoint(str(large), {}, {}))
    mine.save(Checkpoint(str(small), {}, {}))
    until(lambda: before not in _inodes(project, small.name))
    assert _inodes(project, small.name), "it was added before it was a file of its own"
    small.write_bytes(b"something else")
    mine.end()
    assert mine.summary.failed == 0
    assert project.registry().path("net@latest").read_bytes() == bytes([2]) * 1000


def _inodes(project: Project, name: str) -> set[int]:
    """Return the inodes of the second names of a file."""
    found = set()
    for folder in left_over(project.folder):
        with contextlib.suppress(FileNotFoundError):
            found.add((folder / name).stat().st_ino)
    return found


KILLED = """
import os, signal, sys
from mvc.training.recorder import Checkpoint, Options, Recorder
recorder = Recorder(Options("net", ".", "all", 60.0, {}))
recorder.begin({}, None)
recorder.save(Checkpoint("step-1.bin", {}, {}))
os.unlink("step-1.bin")
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
raise RuntimeError("out of memory")
"""


@pytest.mark.parametrize(("how", "status"), [("killed", -signal.SIGKILL), ("error", 1)])
def test_what_was_secured_is_registered_though_the_training_dies(
    project: Project, how: str, status: int
) -> None:
    """After a kill or an error the last checkpoint is a version, and the status is the error's."""
    project.file(b"weights", "step-1.bin")
    done = run_script(KILLED, how, folder=project.folder)
    assert done.returncode == status
    until(lambda: project.registry().list() == ["net"])
    assert project.registry().path("net").read_bytes() == b"weights"
    if how == "error":
        assert "1 version registered, net/v1" in done.stderr


def test_what_dead_processes_left_is_removed_in_time(
    project: Project, recorder: MakeRecorder
) -> None:
    """A second name whose process is long dead is removed; that of a living one never."""
    host = os.uname().nodename
    folder = checkpoint(project, 1).parent
    old, living, new = (
        folder / f".mvc-new-{host}.{process}.{number:016x}"
        for number, process in enumerate((2**22 + 1, os.getpid(), 2**22 + 1))
    )
    for path in (old, living, new):
        path.mkdir()
    for path in (old, living):
        os.utime(path, (1, 1))
    mine = recorder()
    mine.save(Checkpoint(str(folder / "step-1.bin"), {}, {}))
    mine.end()
    assert sorted(left_over(project.folder)) == sorted([living, new])


def test_what_is_not_allowed_is_said_when_the_callback_is_made(project: Project) -> None:
    """Names and values are checked before hours of training, not after."""
    with pytest.raises(UsageError, match="'a b'"):
        Options("a b", None, True, 1.0, {})
    with pytest.raises(UsageError, match="log_model"):
        Options("net", None, "some", 1.0, {})  # type: ignore[arg-type]  # that is the point
    with pytest.raises(UsageError, match="'metrics'"):
        Options("net", None, True, 1.0, {"metrics": {}})
    with pytest.raises(UsageError, match="'best'"):
        Options("net", None, True, 1.0, {"tags": ["best"]})
    with pytest.raises(UsageError, match="'net@' is not a ref"):
        Options("net", None, True, 1.0, {"parents": ["net@"]})
