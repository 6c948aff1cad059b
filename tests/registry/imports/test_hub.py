"""A repository of the Hub is a version, read where the hub's own library keeps it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvc import progress
from mvc.errors import MvcWarning, NotFound, RemoteFailed, Unsupported, UsageError
from tests.registry.imports.conftest import BODY
from tests.support.hub_server import Hub, commit_of, serving_hub
from tests.support.registry_builders import Project, files_in

library = pytest.importorskip("huggingface_hub")
pytest.importorskip("huggingface_hub.constants")

ROOT = Path(__file__).parents[3]
CONFIG = json.dumps({"architectures": ["BertModel"]}).encode()
FILES = {
    "config.json": CONFIG,
    "model.safetensors": BODY,
    "README.md": b"# bert",
    "onnx/config.json": b"{}",
}
TWINS = {
    **FILES,
    "pytorch_model.bin": BODY[::-1],
    "flax_model.msgpack": b"flax",
    "2_Dense/pytorch_model.bin": b"dense, which nothing else holds",
    "2_Dense/model.safetensors.txt": b"",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve ``anna/bert``; the library asks nobody else and keeps things in ``tmp_path``."""
    monkeypatch.setenv("no_proxy", "*")
    constants = library.constants
    with serving_hub() as served:
        served.repositories["anna/bert"] = {"main": FILES}
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE",
            served.url + "/{repo_id}/resolve/{revision}/{filename}",
        )  # fmt: skip
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield served


def stored(project: Project, ref: str) -> dict[str, bytes]:
    return files_in(project.registry().checkout(ref, project.folder / "out").path)


def test_a_repository_becomes_a_version_read_in_place(
    project: Project, hub: Hub, tmp_path: Path
) -> None:
    """All its files come once, into the library's cache only; lineage names the commit."""
    done = project.registry().import_("hf:anna/bert")
    assert (done.id, done.received) == ("bert/v1", sum(map(len, FILES.values())))
    assert done.received == hub.sent
    assert done.path.is_relative_to(tmp_path / "hub")
    assert not (project.folder / "pretrained_models").exists()
    assert stored(project, "bert") == FILES
    assert done.model["architecture"] == "BertModel"
    assert done.lineage["imported"] == {
        "source": "hf:anna/bert",
        "url": f"{hub.url}/anna/bert/tree/{commit_of(FILES)}",
        "revision": commit_of(FILES),
    }


def test_the_same_again_is_no_new_version_and_no_download(project: Project, hub: Hub) -> None:
    """A second import asks which commit the branch is, and takes nothing."""
    project.registry().import_("hf:anna/bert")
    again = project.registry().import_("hf:anna/bert")
    assert (again.id, again.new, again.received) == ("bert/v1", False, 0)
    assert not [path for path in hub.requests[-2:] if "/resolve/" in path]


def test_a_branch_that_moved_is_the_next_version(project: Project, hub: Hub) -> None:
    """What changed is downloaded, the rest is there; a commit or branch can be asked for."""
    first = commit_of(FILES)
    project.registry().import_("hf:anna/bert")
    newer = {**FILES, "README.md": b"# bert, explained"}
    hub.repositories["anna/bert"] = {"main": newer, "old": FILES}
    done = project.registry().import_("hf:anna/bert", "bert")
    assert (done.id, done.received) == ("bert/v2", len(newer["README.md"]))
    assert hub.sent == sum(map(len, FILES.values())) + done.received
    for revision in ("old", first):
        again = project.registry().import_(f"hf:anna/bert@{revision}", "bert")
        assert (again.id, again.received) == ("bert/v1", 0)
    assert project.registry().import_("hf:anna/bert", "bert", revision=first).id == "bert/v1"


def test_the_same_weights_for_other_frameworks_are_left_out(project: Project, hub: Hub) -> None:
    """Where .safetensors lie beside, and only there, and unless files are asked for."""
    hub.repositories["anna/bert"]["main"] = TWINS
    done = project.registry().import_("hf:anna/bert")
    left_out = {"pytorch_model.bin", "flax_model.msgpack"}
    assert stored(project, done.id) == {n: d for n, d in TWINS.items() if n not in left_out}
    assert [note for note in done.notes if "left out 'pytorch_model.bin' and 1 more" in note]
    everything = project.registry().import_("hf:anna/bert", "all", include=["*"])
    assert everything.artifact.files == len(TWINS)
    some = project.registry().import_(
        "hf:anna/bert", "some", include=["*.bin", "config.json"], exclude=["onnx"]
    )
    assert [file.path for file in project.registry().files(some.id)] == [
        "2_Dense/pytorch_model.bin", "config.json", "pytorch_model.bin",
    ]  # fmt: skip
    again = project.registry().import_("hf:anna/bert", offline=True)
    assert (again.id, again.new) == (done.id, False)


def test_offline_takes_what_is_cached_and_nothing_else(
    project: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``offline``, MVC_OFFLINE and HF_HUB_OFFLINE ask nobody; what lacks is named."""
    with pytest.raises(NotFound, match="'hf:anna/bert' is not cached, and may not be downloaded"):
        project.registry().import_("hf:anna/bert", offline=True)
    project.registry().import_("hf:anna/bert", exclude=["README.md"])
    hub.requests.clear()
    assert project.registry().import_("hf:anna/bert", offline=True, exclude=["README.md"]).id
    monkeypatch.setattr(library.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NotFound, match=r"1 of 4 files are not cached, the first 'README.md'"):
        project.registry().import_("hf:anna/bert")
    assert hub.requests == []


def test_without_a_network_what_is_cached_is_taken(project: Project, hub: Hub) -> None:
    """A hub that cannot be asked is a warning where the snapshot is there, else an error."""
    project.registry().import_("hf:anna/bert")
    hub.status = 503
    with pytest.warns(MvcWarning, match="what is cached of 'hf:anna/bert' is taken"):
        assert not project.registry().import_("hf:anna/bert").new
    with pytest.raises(RemoteFailed, match="the hub answers 503 for 'hf:anna/other'"):
        project.registry().import_("hf:anna/other")


def test_what_others_left_in_the_cache_is_taken_with_a_warning(project: Project, hub: Hub) -> None:
    """Single files that some library downloaded may be all, or not: that is said."""
    library.hf_hub_download("anna/bert", "model.safetensors", token=False)
    with pytest.warns(MvcWarning, match="nobody can tell whether it has all files"):
        done = project.registry().import_("hf:anna/bert", offline=True)
    assert done.artifact.files == 1
    assert project.registry().import_("hf:anna/bert").artifact.files == len(FILES)


def test_a_blob_that_rotted_is_not_registered(project: Project, hub: Hub) -> None:
    """Each file is compared with the digest that the hub gave it, LFS or not."""
    done = project.registry().import_("hf:anna/bert")
    for name in ("model.safetensors", "config.json"):
        blob = (done.path / name).resolve()
        whole = blob.read_bytes()
        blob.write_bytes(b"?" + whole[1:])
        with pytest.raises(RemoteFailed, match=f"'{name}' is damaged in the cache"):
            project.registry().import_("hf:anna/bert", "other")
        blob.write_bytes(whole)
    assert project.registry().list() == ["bert"]


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("hf:anna/secret", RemoteFailed, "there is no 'hf:anna/secret', or it is private"),
        ("hf:anna/gated", RemoteFailed, "is given to those who accepted its conditions"),
        ("hf:anna/bert@v9", RemoteFailed, "'hf:anna/bert' has no revision 'v9'"),
        ("hf:anna/b/c", UsageError, "'hf:anna/b/c' is no repository"),
        ("hf:", UsageError, "which repository"),
        ("hf:anna/bert@", UsageError, "which repository"),
    ],
)
def test_what_cannot_be_had_is_one_line_with_a_hint(
    project: Project, hub: Hub, source: str, error: type[Exception], words: str
) -> None:
    """Private, gated, a wrong revision or name: each says what to type."""
    hub.repositories["anna/gated"] = {"main": FILES}
    hub.gated = {"anna/gated"}
    with pytest.raises(error, match=words) as raised:
        project.registry().import_(source, "net")
    assert "\n" not in str(raised.value)
    assert getattr(raised.value, "hint", None)


def test_a_broken_download_is_an_error_and_whole_files_are_kept(
    project: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that never comes whole makes no version; what came whole is not sent again."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the library waits between tries
    hub.cut = 1000
    with pytest.raises(RemoteFailed):
        project.registry().import_("hf:anna/bert")
    assert project.registry().list() == []
    hub.cut, hub.status_of_files = None, 503
    with pytest.raises(RemoteFailed, match=r"'hf:anna/bert' cannot be downloaded|answers 503"):
        project.registry().import_("hf:anna/bert")
    hub.status_of_files = None
    done = project.registry().import_("hf:anna/bert")
    assert done.received == len(BODY)
    assert stored(project, "bert") == FILES


def test_ctrl_c_ends_the_download_of_a_large_file(
    project: Project, hub: Hub, tmp_path: Path
) -> None:
    """Whoever has enough is not kept waiting by a transfer that does not move."""
    project.registry().init()
    hub.repositories["anna/bert"]["main"] = {**FILES, "large.safetensors": bytes(3 << 20)}
    hub.stall = 1 << 20
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "no_proxy": "*"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mvc", "import", "hf:anna/bert"],
        cwd=project.folder,
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (hub.sent > 3 << 20 and list(tmp_path.rglob("*.incomplete"))):
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)  # until it reads
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()


def test_how_far_it_is_is_told(project: Project, hub: Hub) -> None:
    """A listener hears of each byte once, and the library draws nothing."""
    told: dict[str, tuple[int, int | None]] = {}

    def moved(job: progress.Job) -> None:
        told[job.title] = (job.done, job.total)

    with progress.listening(moved):
        project.registry().import_("hf:anna/bert")
    size = sum(map(len, FILES.values()))
    assert told["downloading hf:anna/bert"] == (size, size)
    assert told["comparing hf:anna/bert"] == (size, size)


def test_without_the_library_it_is_said_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, with what to type."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(Unsupported, match=r"^huggingface_hub is not installed") as raised:
        project.registry().import_("hf:anna/bert")
    assert raised.value.hint == "pip install 'mvc-registry[hf]'"


def test_what_is_of_one_file_is_refused(project: Project, hub: Hub) -> None:
    """A digest, or two revisions, are told before anybody is asked."""
    with pytest.raises(UsageError, match="--sha256 is the digest of one file"):
        project.registry().import_("hf:anna/bert", sha256="0" * 64)
    with pytest.raises(UsageError, match="revision 'a' or 'b'"):
        project.registry().import_("hf:anna/bert@a", revision="b")
    with pytest.raises(NotFound, match="has no such files"):
        project.registry().import_("hf:anna/bert", include=["*.gguf"])
    assert not [path for path in hub.requests if "/resolve/" in path]


def test_the_command_keeps_to_the_librarys_own_settings(
    project: Project, hub: Hub, tmp_path: Path
) -> None:
    """HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE mean to mvc what they mean to the library."""
    project.registry().init()
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "no_proxy": "*"}
    for offline in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-m", "mvc", "import", "hf:anna/bert", "--include", "*.json"],
            cwd=project.folder,
            env={**os.environ, **settings, "HF_HUB_OFFLINE": offline, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "bert/v1\n"), done.stderr
        assert "%" not in done.stderr, "the library drew a bar"
    assert (tmp_path / "home/hub/models--anna--bert").is_dir()
