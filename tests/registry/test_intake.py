"""What ``add`` takes, notes and refuses."""

from __future__ import annotations

import os
import socket
import subprocess
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from mvc import Conflict, ModelRegistry, MvcWarning, NotFound, UsageError
from mvc.registry.intake.source import SourceFile
from tests.support.registry_builders import MIB, Project, files_in, noise


def test_the_first_add_makes_the_registry_and_later_ones_count_up(project: Project) -> None:
    """Versions are numbered from one, and ``register`` returns the id."""
    path = project.file(b"weights")
    assert not project.mvc.exists()
    assert [project.registry().register("net", path) for _ in range(3)] == [
        "net/v1",
        "net/v2",
        "net/v3",
    ]
    assert path.read_bytes() == b"weights"


def test_create_false_makes_no_registry(project: Project) -> None:
    """Without leave to create, the first ``register`` finds no registry."""
    with pytest.raises(NotFound, match="no registry"):
        ModelRegistry(project.folder, create=False).register("net", project.file(b"x"))
    assert not project.mvc.exists()


def test_reading_creates_no_registry(project: Project) -> None:
    """Listing and asking where there is no registry leave the folder empty."""
    registry = project.registry()
    assert registry.list() == []
    for ask in (lambda: registry.list("net"), lambda: registry.get("net"), registry.fsck):
        with pytest.raises(NotFound):
            ask()
    assert list(project.folder.iterdir()) == []


def test_everything_said_of_a_version_is_in_its_record(project: Project) -> None:
    """Facts come back from ``get`` as they were given, and what mvc notes stands beside them."""
    parent = project.add(b"parent", family="base")
    project.add(
        b"weights",
        name="m.bin",
        metrics={"acc": 0.95, "epoch": 3},
        params={"lr": 1e-5, "sizes": (1, 2), "nested": {"a": None, "b": True}, "v": "1.10"},
        lineage={"dataset": "imagenet-1k", "date": "2026-11-20", "run": 7},
        parents=[parent],
        framework="pytorch",
        architecture="resnet18",
        input_shape=(1, 3, 224, 224),
        labels={"team": "vision"},
        message="longer schedule",
        tags=["prod", "test"],
    )
    shown = project.registry().get("net")
    base = project.registry()
    assert shown["metrics"] == {"acc": 0.95, "epoch": 3}
    assert type(shown["metrics"]["epoch"]) is int
    assert shown["params"] == {
        "lr": 1e-5,
        "sizes": [1, 2],
        "nested": {"a": None, "b": True},
        "v": "1.10",
    }
    assert shown["lineage"] == {
        "dataset": "imagenet-1k",
        "date": "2026-11-20",
        "run": 7,
        "parents": [{"id": "base/v1", "record": str(base.manifest.record("base", 1)[1])}],
        "code": None,
        "source": None,
    }
    assert shown["model"] == {
        "framework": "pytorch",
        "architecture": "resnet18",
        "input_shape": [1, 3, 224, 224],
    }
    assert (shown["labels"], shown["message"]) == ({"team": "vision"}, "longer schedule")
    assert (shown["author"], shown["tags"], shown["present"]) == ("anna", ["prod", "test"], True)
    assert (shown["artifact"]["name"], shown["artifact"]["size"]) == ("m.bin", 7)
    assert (shown["latest"], shown["best"], shown["withdrawn"]) == (True, True, False)


def test_one_tag_or_parent_may_be_given_as_a_word(project: Project) -> None:
    """Text where several words may stand is one word, not its letters."""
    project.add(b"1", tags="prod")
    project.add(b"2", parents="net@prod")
    assert project.registry().resolve("net@v1").tags == ("prod",)
    assert project.registry().get("net")["lineage"]["parents"][0]["id"] == "net/v1"


class Scalar:
    """A number as frameworks have them: it can only be made a float."""

    def __float__(self) -> float:
        return 0.25


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (1, 1),
        (True, 1.0),
        (0.5, 0.5),
        ("0.5", 0.5),
        (np.float32(0.5), 0.5),
        (np.array(0.5), 0.5),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 4), 0.25),
        (Scalar(), 0.25),
        (10**309, 10**309),
    ],
)
def test_a_metric_is_anything_that_is_a_number(project: Project, given: Any, kept: float) -> None:
    """Whatever has ``__float__`` is kept as a number, whole ones as they are."""
    project.add(b"1", metrics={"acc": given})
    found = project.registry().get("net@best")["metrics"]["acc"]
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize("value", ["abc", None, [1], {}, 1j, object()])
def test_a_metric_that_is_no_number_is_refused(project: Project, value: Any) -> None:
    """The error names the metric, and nothing is stored."""
    with pytest.raises(UsageError, match="metric 'acc'"):
        project.add(b"1", metrics={"acc": value})
    nothing_stored(project)


@pytest.mark.parametrize(
    ("value", "text"), [(float("nan"), "nan"), (float("inf"), "inf"), (-np.inf, "-inf")]
)
def test_a_metric_that_is_not_finite_is_kept_and_never_best(
    project: Project, value: float, text: str
) -> None:
    """A diverged run is stored, with a warning; it does not win, in either direction."""
    with pytest.warns(MvcWarning, match=f"metric 'acc' is {text}: it is kept, but never best"):
        project.add(b"1", metrics={"acc": value})
    project.add(b"2", metrics={"acc": 0.1})
    registry = project.registry()
    assert registry.get("net@v1")["metrics"] == {"acc": text}
    for mode in ("max", "min"):
        assert registry.best("net", "acc", mode)[1] == registry.resolve("net@v2")


@pytest.mark.parametrize(
    "facts",
    [
        {"lineage": {"parents": "net@v1"}},
        {"lineage": {"code": "x"}},
        {"lineage": {"source": "x"}},
        {"parents": ["a b"]},
        {"tags": ["latest"]},
        {"tags": ["ok", "v1"]},
        {"metrics": {"a b": 1}},
        {"params": {"": 1}},
        {"labels": {"a\nb": "x"}},
        {"input_shape": (1, 0)},
        {"input_shape": (1, 2.5)},
        {"message": "\udcff"},
        {"params": {"note": "x" * (1 << 20)}},
        {"params": {"n": 10**500}},
        {"architecture": "\ud800"},
    ],
)
def test_facts_that_cannot_be_kept_are_refused_before_the_file_is_read(
    project: Project, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any]
) -> None:
    """A reserved or impossible name or value is a usage error, and nothing was stored."""

    def unread(*_: object) -> bytes:
        pytest.fail("the file was read")

    monkeypatch.setattr(SourceFile, "read", unread)
    with pytest.raises(UsageError):
        project.add(b"1", **facts)
    nothing_stored(project)


def test_an_unknown_parent_is_refused(project: Project) -> None:
    """A parent must be a version of this registry."""
    with pytest.raises(NotFound, match="no family 'base'"):
        project.add(b"1", parents=["base@v1"])
    nothing_stored(project)


def test_values_become_what_a_record_can_hold(project: Project) -> None:
    """Numbers of numpy become numbers, what is not finite becomes text, all else its words."""
    project.add(
        b"1",
        params={
            "scalar": np.float32(0.5),
            "count": np.int64(3),
            "flag": np.bool_(True),
            "bad": float("nan"),
            "path": Path("a/b"),
            "deep": [{"x": np.array(2)}],
        },
    )
    assert project.registry().get("net")["params"] == {
        "scalar": 0.5,
        "count": 3,
        "flag": True,
        "bad": "nan",
        "path": "a/b",
        "deep": [{"x": 2}],
    }


def test_the_commit_of_the_code_is_noted(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a git repository the lineage has the commit, and whether files differ from it."""
    work = project.folder / "code"
    work.mkdir()

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(work), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    monkeypatch.chdir(work)
    project.add(b"0")
    (work / "train.py").write_text("one")
    git("add", "train.py")
    git("commit", "-q", "-m", "one")
    project.add(b"1")
    (work / "train.py").write_text("two")
    project.add(b"2")
    commit = git("rev-parse", "HEAD")
    assert [project.registry().get(f"net@v{n}")["lineage"]["code"] for n in (1, 2, 3)] == [
        None,
        {"git": commit, "dirty": False},
        {"git": commit, "dirty": True},
    ]


def test_nothing_of_a_foreign_repository_is_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at a repository runs neither its hooks nor its fsmonitor, and writes nothing."""
    work = project.folder / "code"
    work.mkdir()
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    (work / "train.py").write_text("one")
    for words in (["add", "."], [*identity, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(work), *words], check=True)
    trap = work / ".git" / "trap"
    trap.write_text(f"#!/bin/sh\ntouch '{project.folder}/ran'\n")
    trap.chmod(0o755)
    hooks = work / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "post-index-change").symlink_to(trap)
    subprocess.run(["git", "-C", str(work), "config", "core.fsmonitor", str(trap)], check=True)
    os.utime(work / "train.py", (1, 1))
    before = (work / ".git" / "index").read_bytes()
    monkeypatch.chdir(work)
    project.add(b"1")
    assert project.registry().get("net")["lineage"]["code"]["dirty"] is False
    assert not (project.folder / "ran").exists()
    assert (work / ".git" / "index").read_bytes() == before


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("Anna", "Anna"),
        ("  Anna  ", "Anna"),
        (b"A\xff".decode(errors="surrogateescape"), "A\\udcff"),
    ],
)
def test_the_author_is_text(
    project: Project, monkeypatch: pytest.MonkeyPatch, value: str, kept: str
) -> None:
    """``MVC_AUTHOR`` is taken as it is; bytes in it that are no text are shown as such."""
    monkeypatch.setenv("MVC_AUTHOR", value)
    project.add(b"1")
    assert project.registry().get("net")["author"] == kept


def test_without_a_name_given_the_author_is_of_git_or_the_login(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git's ``user.name`` comes before the login."""
    monkeypatch.delenv("MVC_AUTHOR")
    monkeypatch.setenv("LOGNAME", "login")
    project.add(b"1")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Git Name")
    project.add(b"2")
    assert [version.author for version in project.registry().log("net")] == ["Git Name", "login"]


# Sources.


def test_a_link_to_a_file_is_read_through(project: Project) -> None:
    """A symbolic link is its file, under the link's name."""
    project.file(b"weights", "blob")
    link = project.folder / "model.pt"
    link.symlink_to("blob")
    added = project.registry().add("net", link)
    assert added.artifact.name == "model.pt"
    assert project.bytes_of("net") == b"weights"
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("missing", NotFound, "no file"),
        ("under a file", NotFound, "no file"),
        ("dangling", NotFound, "is a link to 'nowhere', which is not there"),
        ("loop", UsageError, "leads back to itself"),
        ("folder", UsageError, "holds no files"),
        ("link to folder", UsageError, "source' is a link to a folder"),
        ("pipe", UsageError, "is a pipe"),
        ("device", UsageError, "is a device"),
        ("socket", UsageError, "is a socket"),
        ("not text", UsageError, "is not UTF-8"),
    ],
)
def test_what_is_no_regular_file_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch, kind: str, error: type[Exception], said: str
) -> None:
    """Each is one clear error, at once, and nothing is stored."""
    path = project.folder / "source"
    if kind == "under a file":
        path = project.file(b"x") / "source"
    elif kind in ("dangling", "loop", "link to folder"):
        path.symlink_to({"dangling": "nowhere", "loop": "source"}.get(kind, "."))
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/null")
    elif kind == "socket":
        monkeypatch.chdir(project.folder)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("source")
    elif kind == "not text":
        path = Path(os.fsdecode(os.fsencode(project.folder) + b"/m\xff.pt"))
        path.write_bytes(b"x")
    with pytest.raises(error, match=said):
        project.registry().add("net", path)
    nothing_stored(project)


# What is kept once.


@pytest.mark.parametrize("rows", [10, 1100], ids=["one chunk", "many"])
def test_the_same_weights_are_named_whatever_file_and_family_has_them(
    project: Project, rows: int
) -> None:
    """A re-saved file is told by its weights: of its own family first, else of any other."""
    torch = pytest.importorskip("torch")
    weights = np.random.default_rng(1).normal(0, 1, (rows, 1000)).astype("float32")
    (project.folder / "m.safetensors").write_bytes(save({"w": weights}))
    torch.save({"w": torch.from_numpy(weights)}, project.folder / "m.pt")
    registry = project.registry()
    first = registry.add("saved", project.folder / "m.safetensors")
    assert (first.same_bytes, first.same_weights) == (None, None)
    other = registry.add("net", project.folder / "m.pt")
    assert (other.same_bytes, other.same_weights) == (None, "saved/v1")
    again = registry.add("net", project.folder / "m.safetensors")
    assert (again.same_bytes, again.same_weights) == ("saved/v1", "net/v1")
    last = registry.add("net", project.folder / "m.safetensors")
    assert (last.same_bytes, last.same_weights) == ("net/v2", None)
    torch.save({"v": torch.from_numpy(weights)}, project.folder / "m.pt")
    named = registry.add("net", project.folder / "m.pt")
    assert (named.same_bytes, named.same_weights) == (None, None)


def test_the_same_bytes_store_nothing_and_name_the_earlier_version(project: Project) -> None:
    """Identical bytes are a new version without a new pack."""
    data = noise(5 * MIB)
    project.add(data)
    packs = project.packs
    again = project.registry().add("net", project.file(data, "copy.bin"))
    assert (again.id, again.stored, again.reused) == ("net/v2", 0, len(data))
    assert again.same_bytes == "net/v1"
    assert project.packs == packs
    assert project.registry().add("other", project.file(data)).stored == 0


def test_a_small_file_is_one_object(project: Project) -> None:
    """A file of at most 4 MiB is stored without a recipe."""
    project.add(noise(4 * MIB))
    project.add(noise(4 * MIB + 1, 2))
    assert project.registry().fsck("full").checked["objects"] > 2
    store = project.registry().presence.store
    recipes = [
        store.recipe(project.registry().resolve(ref).artifact.digest) is not None
        for ref in ("net@v1", "net@v2")
    ]
    assert recipes == [False, True]


def test_an_inserted_byte_stores_only_what_is_around_it(project: Project) -> None:
    """Files of unknown format are cut by content, so that a shift costs a chunk or two."""
    data = noise(24 * MIB)
    project.add(data)
    changed = project.registry().add(
        "net", project.file(data[:9_000_000] + b"!" + data[9_000_000:], "changed.bin")
    )
    assert changed.stored < 6 * MIB
    assert changed.reused > 18 * MIB
    assert project.bytes_of("net@v2") == data[:9_000_000] + b"!" + data[9_000_000:]


def test_names_that_only_windows_would_misread_are_kept(project: Project) -> None:
    """The name of a file is noted as it is."""
    for name in ("model: final.pt", "ünïcode 模型.bin", "-m.pt", "a" * 255):
        assert project.registry().add("net", project.file(b"x", name)).artifact.name == name
        assert project.registry().get("net")["artifact"]["name"] == name


def test_a_tag_that_could_not_be_set_is_a_warning_after_the_version_is_stored(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its commit point ``add`` does not fail; it says which tags are missing."""
    from mvc.registry import changes

    def refuse(*_: object) -> None:
        raise Conflict("not now")

    monkeypatch.setattr(changes, "tag_steps", refuse)
    with pytest.warns(MvcWarning, match="net/v1 is stored, but was not tagged 'prod'"):
        added = project.registry().add("net", project.file(b"x"), tags=["prod"])
    assert (added.id, added.untagged) == ("net/v1", ("prod",))
    assert project.bytes_of("net@v1") == b"x"


def nothing_stored(project: Project) -> None:
    """No version, no pack, no root, nothing staged."""
    left = files_in(project.mvc)
    assert not [
        name for name in left if name.startswith(("manifest/net", "store/packs", "store/roots"))
    ]
    assert not [name for name in left if name.startswith("store/staging")]


@pytest.mark.parametrize(
    "path", [".mvc", ".mvc/config.yaml", ".mvc/manifest", ".git/config", "link", "store"]
)
def test_what_belongs_to_mvc_or_git_is_no_model(project: Project, path: str) -> None:
    """A registry, its files, its store, or git's are refused with a hint, also behind a link."""
    registry = project.registry()
    registry.init(store=project.folder / "store")
    project.file(b"x", "model.bin")
    (project.folder / ".git").mkdir()
    (project.folder / ".git/config").write_bytes(b"x")
    (project.folder / "link").symlink_to(".mvc/manifest")
    with pytest.raises(UsageError, match="belongs to mvc or git") as raised:
        registry.add("net", project.folder / path)
    assert "--from REF" in (raised.value.hint or "")
    assert registry.list() == []


def test_a_link_into_git_is_a_file_like_others(project: Project) -> None:
    """git-annex keeps a file's bytes in ``.git`` with a link to them in the user's folder."""
    (project.folder / ".git").mkdir()
    (project.folder / ".git/object").write_bytes(b"weights")
    (project.folder / "model.bin").symlink_to(".git/object")
    assert project.registry().add("net", project.folder / "model.bin").artifact.size == 7


def test_the_commit_of_a_version_may_be_given(project: Project) -> None:
    """An older file has its own commit in its lineage, also one of digits alone."""
    path = project.file(b"weights")
    for given in ("9B1F0C7", 1234567, "0123456789" * 4):
        added = project.registry().add("net", path, lineage={"code": given, "seed": 1})
        code = added.lineage["code"]
        assert code == {"git": str(given).lower(), "dirty": False}
    again = project.registry().add("net", from_version="net@v1", lineage={"code": "abcdef0"})
    assert again.lineage["code"]["git"] == "abcdef0"
    assert list(again.lineage) == ["dataset", "date", "seed", "parents", "code", "source"]
    for wrong in ("train.py", "abc", None, 12, {"git": "abcdef0"}):
        with pytest.raises(UsageError, match="is no git commit"):
            project.add(b"weights", lineage={"code": wrong})
    assert project.registry().list("net")[-1] == "v4"
