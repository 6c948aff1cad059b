"""Weights are fetched once, never half, never wrong, and a stand-in is there without a network."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import socket
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mvc.errors import Damaged, UsageError
from mvc.frameworks import libraries, torchvision_weights
from mvc.frameworks.torchvision_weights import (
    NETWORKS,
    differing,
    fetch,
    load_back,
    same_tensors,
    save_as_pt,
    save_as_safetensors,
)
from tests.frameworks.conftest import Manner, Publisher

if not libraries.available():
    pytest.skip("the extra 'torch' is not installed", allow_module_level=True)
torch = libraries.import_torch()

COUNTS = {"resnet18": 122, "densenet121": 727}


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both networks' weights from seed 0, made once; read only."""
    folder = tmp_path_factory.mktemp("stand-ins")
    for name in NETWORKS:
        assert fetch(name, folder, online=False).origin == "seeded"
    return folder


@pytest.fixture
def folder(stand_ins: Path, tmp_path: Path) -> Path:
    """A folder of this test's own in which the stand-ins need not be made again."""
    folder = tmp_path / "pretrained_models"
    folder.mkdir()
    for path in stand_ins.iterdir():
        os.link(path, folder / path.name)
    return folder


@pytest.fixture
def name_published(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small file of weights under the name that its hash gives it; only the URL is ours."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.arange(50_000.0)}, buffer)
    publisher.body = buffer.getvalue()
    name = f"resnet18-{hashlib.sha256(publisher.body).hexdigest()[:8]}.pth"
    monkeypatch.setattr(torchvision_weights, "_url", lambda _: f"{publisher.url}/models/{name}")
    return name


def seeded_path(folder: Path, name: str) -> Path:
    (path,) = folder.glob(f"{name}-seed0-*.pth")
    return path


def test_torchvision_names_a_file_that_carries_its_hash() -> None:
    """The real URLs end in names from which a damaged file can be told."""
    for name in NETWORKS:
        url = torchvision_weights._url(name)
        assert url.startswith("https://")
        assert torchvision_weights._HASH_IN_NAME.search(url)


def test_what_was_downloaded_once_is_not_downloaded_again(
    publisher: Publisher, name_published: str, tmp_path: Path
) -> None:
    """The first fetch downloads, the second takes the file from the folder and asks nobody."""
    first = fetch("resnet18", tmp_path / "new" / "folder")
    assert (first.origin, first.path.name, first.note) == ("downloaded", name_published, None)
    assert first.path.read_bytes() == publisher.body
    second = fetch("resnet18", tmp_path / "new" / "folder")
    assert (second.origin, second.path, second.note) == ("cached", first.path, None)
    assert publisher.requests == 1
    assert list(first.path.parent.iterdir()) == [first.path]


@pytest.mark.parametrize("manner", ["cut", "silent", "stalled", "refused"])
def test_a_failing_download_is_given_up_and_leaves_no_half_file(
    publisher: Publisher,
    name_published: str,
    folder: Path,
    manner: Manner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cut, silent, stalled or refused: one request, a stand-in in bounded time, nothing half."""
    monkeypatch.setattr(torchvision_weights, "PATIENCE", 0.3)
    publisher.manner = manner
    before = sorted(folder.iterdir())
    started = time.monotonic()
    fetched = fetch("resnet18", folder)
    assert time.monotonic() - started < 10
    assert (fetched.origin, fetched.path) == ("seeded", seeded_path(folder, "resnet18"))
    assert fetched.note is not None
    assert fetched.note.startswith("no download (")
    assert "\n" not in fetched.note
    assert sorted(folder.iterdir()) == before
    assert publisher.requests == 1


def test_the_wait_for_other_sockets_is_as_it_was(
    publisher: Publisher, name_published: str, tmp_path: Path
) -> None:
    """The time limit of a download does not outlive it."""
    fetch("resnet18", tmp_path)
    assert socket.getdefaulttimeout() is None


def test_nobody_listening_means_a_stand_in(
    name_published: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection is said in one line and weights from the seed are taken."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/{name_published}"
    monkeypatch.setattr(torchvision_weights, "_url", lambda _: url)
    fetched = fetch("resnet18", folder)
    assert fetched.origin == "seeded"
    assert fetched.note is not None
    assert fetched.note.endswith("; weights from seed 0 instead")


def test_bytes_that_are_not_those_of_the_name_are_refused(
    publisher: Publisher, name_published: str, folder: Path
) -> None:
    """A whole download of other bytes is never kept under the name."""
    publisher.body = publisher.body[:-1] + b"?"
    fetched = fetch("resnet18", folder)
    assert fetched.origin == "seeded"
    assert not (folder / name_published).exists()


def test_a_damaged_file_is_fetched_again(
    publisher: Publisher, name_published: str, tmp_path: Path
) -> None:
    """A file that its name disowns is replaced by a good one, and the note says so."""
    (tmp_path / name_published).write_bytes(publisher.body[:-1])
    fetched = fetch("resnet18", tmp_path)
    assert fetched.origin == "downloaded"
    assert fetched.note == f"{name_published} was damaged and has been fetched again"
    assert fetched.path.read_bytes() == publisher.body


def test_a_damaged_file_is_reported_where_it_cannot_be_fetched(
    publisher: Publisher, name_published: str, folder: Path
) -> None:
    """Without a network the damage is named, the file stays, and it is not used."""
    (folder / name_published).write_bytes(b"half")
    fetched = fetch("resnet18", folder, online=False)
    assert fetched.origin == "seeded"
    assert fetched.note is not None
    assert fetched.note.startswith(f"{name_published} is damaged and cannot be fetched again")
    assert (folder / name_published).read_bytes() == b"half"
    assert publisher.requests == 0


def test_a_stand_in_is_the_same_wherever_it_is_made(stand_ins: Path, tmp_path: Path) -> None:
    """The same seed makes the same bytes in another folder, and other seeds other ones."""
    random_state = torch.get_rng_state()
    again = fetch("resnet18", tmp_path, online=False).path
    other = fetch("resnet18", tmp_path, seed=1, online=False).path
    assert again.name == seeded_path(stand_ins, "resnet18").name
    assert again.read_bytes() == seeded_path(stand_ins, "resnet18").read_bytes()
    assert again.read_bytes() != other.read_bytes()
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_stand_in_is_kept_and_mended(stand_ins: Path, tmp_path: Path) -> None:
    """It is made once; a damaged one is made anew."""
    path = tmp_path / seeded_path(stand_ins, "densenet121").name
    path.write_bytes(b"half")
    assert fetch("densenet121", tmp_path, online=False).path == path
    made = path.stat().st_ino
    assert path.read_bytes() == (stand_ins / path.name).read_bytes()
    assert fetch("densenet121", tmp_path, online=False).path == path
    assert path.stat().st_ino == made
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_loaded_back_is_the_same_tensor_by_tensor(
    name: str, stand_ins: Path, tmp_path: Path
) -> None:
    """Through the network and through both formats, every tensor keeps its bits."""
    source = seeded_path(stand_ins, name)
    pt, st = tmp_path / "model.pt", tmp_path / "model.safetensors"
    save_as_pt(name, source, pt)
    save_as_safetensors(pt, st)
    assert same_tensors(source, pt) == same_tensors(pt, st) == COUNTS[name]
    assert differing(load_back(name, source), load_back(name, st)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "model.safetensors"]


def test_equal_weights_make_equal_files(stand_ins: Path, tmp_path: Path) -> None:
    """Saved twice under one name, a network makes one and the same file."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_as_pt("resnet18", seeded_path(stand_ins, "resnet18"), tmp_path / folder / "m.pt")
    assert (tmp_path / "a/m.pt").read_bytes() == (tmp_path / "b/m.pt").read_bytes()


def test_the_published_old_form_is_read_and_saved_in_todays(
    stand_ins: Path, tmp_path: Path
) -> None:
    """DenseNet as published (dotted names, no counters, one pickle) becomes a full zip."""
    today = torch.load(seeded_path(stand_ins, "densenet121"), weights_only=True)
    old = {
        key.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): tensor
        for key, tensor in today.items()
        if not key.endswith("num_batches_tracked")
    }
    source, target = tmp_path / "old.pth", tmp_path / "new.pt"
    torch.save(old, source, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(source)
    save_as_pt("densenet121", source, target)
    assert zipfile.is_zipfile(target)
    assert differing(load_back("densenet121", target), dict(today)) == []


def test_any_difference_is_named() -> None:
    """Value, sign of zero, dtype, shape and absence count; a NaN equals itself."""
    base: dict[str, Any] = {"a": torch.tensor([0.0, float("nan")]), "n": torch.tensor(7)}
    assert differing(base, {key: tensor.clone() for key, tensor in base.items()}) == []
    for other in (
        torch.tensor([-0.0, float("nan")]),
        base["a"].double(),
        base["a"].reshape(1, 2),
        torch.tensor([1.0, float("nan")]),
    ):
        assert differing(base, {**base, "a": other}) == ["a"]
    assert differing(base, {"a": base["a"], "x": base["n"]}) == ["n", "x"]


def test_files_that_differ_are_refused_with_the_first_tensor(tmp_path: Path) -> None:
    """The error counts the tensors that differ and names the first."""
    for at, value in (("a.pt", 0.0), ("b.pt", 1.0)):
        torch.save({"same": torch.zeros(2), "bias": torch.full((3,), value)}, tmp_path / at)
    with pytest.raises(Damaged, match=r"^1 tensors differ between 'a.pt' and 'b.pt', first 'bias'"):
        same_tensors(tmp_path / "a.pt", tmp_path / "b.pt")


class Hostile:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_is_no_file_of_weights_is_damaged(tmp_path: Path, suffix: str) -> None:
    """Noise, an emptied file, a pickle that would run code: one error, and nothing is run."""
    path, trap = tmp_path / f"model{suffix}", tmp_path / "trap"
    for content in (b"", random.Random(0).randbytes(1000), pickle.dumps(Hostile(trap))):
        path.write_bytes(content)
        with pytest.raises(Damaged, match=f"^'model{suffix}' does not hold weights"):
            load_back("resnet18", path)
    assert not trap.exists()


def test_weights_of_another_network_do_not_fit(stand_ins: Path) -> None:
    """Loading the wrong architecture says how many tensors met how many."""
    with pytest.raises(Damaged, match=r"the 122 tensors in .* do not fit the 727 of densenet121"):
        load_back("densenet121", seeded_path(stand_ins, "resnet18"))


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    """A path that is not there stays what it is: not damage."""
    for name in ("model.pt", "model.safetensors"):
        with pytest.raises(FileNotFoundError):
            load_back("resnet18", tmp_path / name)


def test_an_unknown_network_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    """The error lists what there is, and no folder is made."""
    with pytest.raises(UsageError, match="no network 'vgg'") as raised:
        fetch("vgg", tmp_path / "none")
    assert raised.value.hint == "one of resnet18, densenet121"
    assert not (tmp_path / "none").exists()
