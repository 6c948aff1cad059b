"""What ``status`` says of folders that are versions, and which of their files it opens."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mvc import MvcWarning, StoreWarning
from mvc.digest import Digest, digest_of_open
from mvc.registry import digests, folder_status
from mvc.registry.folder_status import FolderState
from tests.support.registry_builders import Project

SHARDS = [f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)]


def shard(path: Path, value: float) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({f"{path.stem}.weight": torch.full((40, 30), value)}, path)


@pytest.fixture
def bert(project: Project) -> Path:
    """A model of Hugging Face in three shards, registered as ``bert/v1``."""
    folder = project.folder / "my-bert"
    (folder / "onnx").mkdir(parents=True)
    for number, name in enumerate(SHARDS):
        shard(folder / name, number)
    weights = {f"{name.removesuffix('.safetensors')}.weight": name for name in SHARDS}
    index = json.dumps({"metadata": {}, "weight_map": weights})
    (folder / "model.safetensors.index.json").write_text(index)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (folder / "onnx/__init__.py").touch()
    project.registry().add("bert", folder)
    return folder


@pytest.fixture(autouse=True)
def left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever is written be left alone for a minute before anything reads it."""
    monkeypatch.setattr(digests, "SETTLED_NS", 0)


@pytest.fixture
def opened(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The user's files that are opened, by name."""
    names: list[str] = []

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def opens(path: Any, *rest: Any, **named: Any) -> Any:
            shown = os.fspath(path) if not isinstance(path, int) else ""
            if str(shown).startswith(f"{project.folder}/") and "/.mvc" not in str(shown):
                names.append(Path(str(shown)).name)
            return real(path, *rest, **named)

        return opens

    monkeypatch.setattr("builtins.open", counted(open))
    monkeypatch.setattr(os, "open", counted(os.open))
    return names


def folders(project: Project) -> list[FolderState]:
    return list(project.registry().status(project.folder).folders)


def only(project: Project) -> FolderState:
    (state,) = folders(project)
    return state


def files(project: Project) -> dict[str, tuple[str, str | None]]:
    """Return what has a line of its own on a screen, by path."""
    found = project.registry().status(project.folder).files
    return {
        str(file.path.relative_to(project.folder)): (file.state, file.version)
        for file in found
        if file.folder is None
    }


def test_a_folder_is_the_version_that_was_added(project: Project, bert: Path) -> None:
    """Also its hidden files and those without tensors are looked at; its files tell of it."""
    assert only(project) == FolderState(bert, "registered", "bert/v1")
    found = project.registry().status(project.folder).files
    assert [(file.path.name, file.version, file.folder) for file in found] == [
        (name, "bert/v1", bert) for name in SHARDS
    ]
    (bert / ".gitattributes").write_text("")
    assert only(project).changed == (".gitattributes",)
    shown = project.registry().status(project.folder)
    assert repr(shown).endswith("3 files registered, 1 folder>")
    assert "my-bert (changed, bert/v1, 1 changed)" in shown._repr_html_()


@pytest.mark.parametrize("checked_out", [False, True])
def test_what_became_of_each_file_is_told(
    project: Project, bert: Path, tmp_path: Path, checked_out: bool
) -> None:
    """After ``add`` as after ``checkout``: other bytes, no file there, a file more."""
    if checked_out:
        shutil.rmtree(bert)
        bert = project.registry().checkout("bert", tmp_path / "copy").path
        assert only(project) == FolderState(bert, "registered", "bert/v1")
    shard(bert / SHARDS[1], 7)
    (bert / "config.json").write_text('{"model_type": "gpt2"}')
    (bert / "tokenizer.json").unlink()
    shutil.rmtree(bert / "onnx")
    (bert / "extra.txt").write_text("mine")
    expected = FolderState(
        bert,
        "changed",
        "bert/v1",
        ("config.json", SHARDS[1]),
        ("onnx/__init__.py", "tokenizer.json"),
        ("extra.txt",),
    )
    assert only(project) == expected
    assert only(project) == expected
    assert not files(project)


def test_new_files_do_not_make_a_folder_another(project: Project, bert: Path) -> None:
    """What ``--exclude`` left out is new, and the folder is what was just added."""
    (bert / "optimizer.pt").write_bytes(b"state")
    (bert / "notes.txt").write_text("mine")
    (bert / "__pycache__").mkdir()
    (bert / "__pycache__/x.pyc").touch()
    project.registry().add("bert", bert, exclude=["optimizer.pt", "notes.txt"])
    assert only(project) == FolderState(
        bert, "registered", "bert/v2", new=("notes.txt", "optimizer.pt")
    )
    assert files(project) == {"my-bert/optimizer.pt": ("new", None)}


def test_a_folder_that_is_another_version_is_that(project: Project, bert: Path) -> None:
    """By its bytes, if it has the files of one version and no others; and so from then on."""
    registry = project.registry()
    shard(bert / SHARDS[0], 5)
    (bert / "tokenizer.json").unlink()
    registry.add("bert", bert)
    shard(bert / SHARDS[0], 0)
    assert only(project).state == "changed"
    (bert / "tokenizer.json").write_text("{}")
    assert only(project) == FolderState(bert, "registered", "bert/v1")
    (bert / "tokenizer.json").unlink()
    assert only(project) == FolderState(bert, "changed", "bert/v1", missing=("tokenizer.json",))
    (bert / "tokenizer.json").write_text("{}")
    registry.add("bert", bert, include=["config.json"])
    registry.checkout("bert@v1", bert)
    shard(bert / SHARDS[0], 9)
    assert only(project) == FolderState(bert, "changed", "bert/v1", (SHARDS[0],))


def test_a_folder_within_tells_of_its_own_files(project: Project, bert: Path) -> None:
    """What is a version by itself is not new to the folder that it lies in."""
    inner = bert / "adapter"
    inner.mkdir()
    shard(inner / "adapter_model.safetensors", 1)
    (inner / "adapter_config.json").write_text("{}")
    shard(bert / "best.safetensors", 2)
    registry = project.registry()
    registry.add("adapter", inner)
    registry.add("best", bert / "best.safetensors")
    registry.add("vocabulary", bert / "tokenizer.json")
    assert folders(project) == [
        FolderState(bert, "registered", "bert/v1"),
        FolderState(inner, "registered", "adapter/v1"),
    ]
    assert files(project) == {"my-bert/best.safetensors": ("registered", "best/v1")}
    (inner / "notes.txt").touch()
    assert [state.new for state in folders(project)] == [(), ("notes.txt",)]
    registry.add("whole", bert)
    (inner / "adapter_config.json").write_text("[]")
    (bert / "tokenizer.json").write_text("[]")
    states = {state.version: state.changed for state in folders(project)}
    assert states == {
        "whole/v1": ("adapter/adapter_config.json", "tokenizer.json"),
        "adapter/v1": ("adapter_config.json",),
    }


def test_files_are_looked_at_through_links(project: Project, bert: Path) -> None:
    """A snapshot in a cache of models is all links; a link to nothing is a file that is missing."""
    snapshot = project.folder / "hub" / "snapshots"
    snapshot.mkdir(parents=True)
    for path in [*bert.glob("*.*"), bert / "onnx/__init__.py"]:
        (snapshot / path.name).symlink_to(path)
    (project.folder / "latest").symlink_to(snapshot)
    project.registry().add("hub", project.folder / "latest")
    states = {state.path.name: state for state in folders(project)}
    assert states["latest"] == FolderState(project.folder / "latest", "registered", "hub/v1")
    shard(bert / SHARDS[1], 7)
    (bert / "onnx/__init__.py").unlink()
    os.mkfifo(bert / "onnx/__init__.py")
    (bert / "tokenizer.json").unlink()
    for _ in range(2):
        states = {state.path.name: state for state in folders(project)}
        assert states["my-bert"].changed == (SHARDS[1], "onnx/__init__.py")
        assert states["latest"].changed == ("__init__.py", SHARDS[1])
        for name in ("my-bert", "latest"):
            assert states[name].missing == ("tokenizer.json",)


def test_a_folder_moved_away_is_told_file_by_file(project: Project, bert: Path) -> None:
    """What it was is noted at its path only; its models are known by their bytes."""
    bert.rename(project.folder / "moved")
    assert folders(project) == []
    assert files(project) == {f"moved/{name}": ("registered", "bert/v1") for name in SHARDS}


def test_what_cannot_be_had_back_is_not_called_registered(project: Project, bert: Path) -> None:
    """A folder of a withdrawn version is withdrawn; of one that the store lacks, it is new."""
    registry = project.registry()
    registry.rm("bert@v1")
    assert only(project) == FolderState(bert, "withdrawn", "bert/v1")
    registry.add("bert", bert)
    registry.rm("bert@v2")
    registry.restore("bert@v1")
    assert only(project) == FolderState(bert, "registered", "bert/v1")
    registry.rm("bert@v1")
    registry.gc(timedelta(0))
    assert only(project).state == "new"
    assert files(project) == {}
    (bert / "config.json").write_text("{}")
    assert only(project).state == "changed"


def test_a_lost_pack_makes_a_folder_new(project: Project, bert: Path) -> None:
    """So nobody deletes it; without its store, a folder is what its record says."""
    for pack in project.packs:
        pack.unlink()
    assert only(project) == FolderState(bert, "new", "bert/v1")
    shutil.rmtree(project.mvc / "store")
    with pytest.warns(StoreWarning):
        assert only(project) == FolderState(bert, "registered", "bert/v1")


def test_another_registry_makes_nothing_of_a_note(
    project: Project, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache may serve several registries: what one calls bert/v1 may be another's model."""
    monkeypatch.setenv("MVC_CACHE", str(project.folder / ".cache"))
    project.registry().add("bert", bert)
    assert only(project).version == "bert/v2"
    shutil.rmtree(project.mvc)
    registry = project.registry()
    registry.add("bert", bert / "config.json")
    assert folders(project) == []
    registry.add("bert", bert / "onnx")
    assert folders(project) == [FolderState(bert / "onnx", "registered", "bert/v2")]


def test_a_file_that_cannot_be_read_is_not_taken_for_unchanged(
    project: Project, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is warned about, and counts as changed."""
    refused = (bert / "config.json").stat().st_ino

    def refuse(descriptor: int, *_: object) -> Digest:
        if os.fstat(descriptor).st_ino == refused:
            raise PermissionError(13, "Permission denied")
        return digest_of_open(descriptor)

    monkeypatch.setattr(digests, "digest_of_open", refuse)
    with pytest.warns(MvcWarning, match=r"config\.json' cannot be read: Permission denied"):
        assert only(project).changed == ("config.json",)


# Which files are opened.


def test_an_unchanged_folder_is_read_once(project: Project, bert: Path, opened: list[str]) -> None:
    """What ``add`` noted is not read at all, all else the first time, and then nothing."""
    only(project)
    others = [".gitattributes", "__init__.py", "config.json", "model.safetensors.index.json",
              "tokenizer.json"]  # fmt: skip
    assert sorted(opened) == others
    opened.clear()
    assert only(project).state == "registered"
    assert opened == []


def test_only_what_changed_is_read(project: Project, bert: Path, opened: list[str]) -> None:
    """A file of another size is not read, nor is one that the version does not have."""
    only(project)
    opened.clear()
    (bert / "config.json").write_text('{"model_type": "gpt2"}')
    (bert / "tokenizer.json").write_text('{"longer": true}')
    (bert / "extra.json").write_text("{}")
    shard(bert / SHARDS[2], 9)
    opened.clear()
    expected = FolderState(
        bert,
        "changed",
        "bert/v1",
        ("config.json", SHARDS[2], "tokenizer.json"),
        (),
        ("extra.json",),
    )
    assert only(project) == expected
    assert sorted(opened) == ["config.json", SHARDS[2]]
    opened.clear()
    assert only(project) == expected
    assert opened == []


def test_beyond_a_limit_files_are_read_each_time(
    project: Project, bert: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notes hold so many; what is shown is as true as before."""
    monkeypatch.setattr(folder_status, "MOST_NOTED", 3)
    only(project)
    opened.clear()
    assert only(project).state == "registered"
    assert sorted(opened) == ["__init__.py", "tokenizer.json"]
    (bert / "tokenizer.json").write_text("[]")
    assert only(project).changed == ("tokenizer.json",)


def test_records_that_are_read_do_not_grow_with_the_family(
    project: Project, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder that changed, no more than the newest so many versions are compared."""
    monkeypatch.setattr(folder_status, "NEWEST", 3)
    for number in range(5):
        (bert / "config.json").write_text(f'{{"step": {number}}}')
        project.registry().add("bert", bert)
    registry = project.registry()
    numbers: list[int] = []
    record = type(registry.manifest).record

    def counted(self: Any, family: str, number: int) -> Any:
        numbers.append(number)
        return record(self, family, number)

    monkeypatch.setattr(type(registry.manifest), "record", counted)
    (bert / "config.json").write_text('{"step": 5}')
    assert registry.status(project.folder).folders[0].version == "bert/v6"
    assert set(numbers) == {4, 5, 6}
    (bert / "config.json").write_text('{"step": 2}')
    assert registry.status(project.folder).folders[0].version == "bert/v4"
