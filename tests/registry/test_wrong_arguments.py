"""What a call was wrongly given is refused by its name, before anything is written."""

from __future__ import annotations

import inspect
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mvc import Damaged, ModelRegistry, UsageError, environment, fileio
from mvc.registry import manifest as manifests
from mvc.registry.arguments import KINDS
from mvc.registry.event import BestRule, Event, Policy
from mvc.registry.intake import intake
from tests.support.registry_builders import Project
from tests.test_public_names import METHODS

WRONG: list[tuple[Callable[[Any], object], str, str]] = [
    (lambda r: r.best("net", "acc", "higher"), "'higher' is no direction", "max or min"),
    (lambda r: r.best("net", "acc", "MAX"), "'MAX' is no direction", "max or min"),
    (lambda r: r.best("net", mode="min"), "which metric?", 'best("net", "acc", mode="min")'),
    (lambda r: r.best("net", "acc", True), "'mode' is True, and not text", "best(name, metric, m"),
    (lambda r: r.best("net", ["acc"], "max"), "'metric' is of type list, and not text", "best("),
    (lambda r: r.keep("net", tagged="yes"), "'tagged' is 'yes', and not True or False", "=True"),
    (lambda r: r.keep("net", tagged=1), "'tagged' is 1, and not True or False", "tagged=True"),
    (lambda r: r.keep("net", last=3, after_add="yes"), "'after_add' is 'yes'", "after_add=True"),
    (lambda r: r.rm("net@v1", force="no"), "'force' is 'no', and not True or False", "force=True"),
    (lambda r: r.add("net", "m.bin", message=0), "'message' is 0, and not text", 'message="text"'),
    (lambda r: r.add("net", "m.bin", params={1: 2}), "params: the name 1 is no text", "str(1)"),
    (lambda r: r.add("net", "m.bin", input_shape=3), "'input_shape' is 3", "(1, 3, 224, 224)"),
    (lambda r: r.add("net", "m.bin", tags=[None]), "'tags' is of type list", '["a", "b"]'),
    (lambda r: r.register(None, "m.bin"), "'name' is None, and not text", "register(name, model"),
    (lambda r: r.register("net", {"w": 1}), "'model_path' is of type dict, and not a path", "save"),
    (lambda r: r.save({"w": 1}, "net"), "'name' is of type dict, and not text", "save(name, state"),
    (lambda r: r.list(r.resolve("net")), "'name' is of type Version", "list(version.family)"),
    (lambda r: r.tag("net@v1", None), "'tag' is None, and not text", "tag(ref, tag)"),
    (lambda r: r.search(lambda v: True), "'expression' is of type function", "search(expression"),
    (lambda r: r.search("acc > 0", limit=-1), "'limit' is -1, and not a whole number", "limit=5"),
    (lambda r: r.log(limit=2.5), "'limit' is 2.5, and not a whole number from 0", "limit=5"),
    (lambda r: r.families(limit=True), "'limit' is True", "limit=5"),
    (lambda r: r.fsck("ful", repair=True), "'ful' is no level of a check", "quick, default, full"),
    (lambda r: r.add("net", ""), "'path' is empty", "path='.' is the working folder"),
    (lambda r: r.register("net", ""), "'model_path' is empty", "model_path='.' is"),
    (lambda r: r.checkout("net", ""), "'output' is empty", "output='.' is"),
    (lambda r: r.init(store=""), "'store' is empty", "store='.' is"),
    (lambda r: r.move_store(""), "'path' is empty", "path='.' is"),
    (lambda r: ModelRegistry(""), "'path' is empty", "path='.' is"),
    (lambda r: ModelRegistry(store=""), "'store' is empty", "store='.' is"),
    (lambda r: ModelRegistry(3), "'path' is 3, and not a path", "ModelRegistry(path"),  # type: ignore[arg-type]  # that is the point
]


@pytest.mark.parametrize(("call", "said", "hint"), WRONG)
def test_a_wrong_argument_is_told_by_its_name_and_changes_nothing(
    project: Project, call: Callable[[Any], object], said: str, hint: str
) -> None:
    """It is a usage error with what to write instead; no file is made, and everything reads."""
    project.add(b"model", name="m.bin", metrics={"acc": 1})
    before = sorted(project.mvc.rglob("*"))
    with pytest.raises(UsageError) as caught:
        call(project.registry())
    assert said in caught.value.message
    assert hint in (caught.value.hint or "")
    assert sorted(project.mvc.rglob("*")) == before
    assert project.registry().list() == ["net"]


def test_every_argument_of_every_method_is_looked_at(tmp_path: Path) -> None:
    """Whatever a signature says is text, a flag, a count, a path or a list is refused else."""
    seen = 0
    for method in METHODS:
        call = getattr(ModelRegistry(tmp_path), method)
        for name, parameter in inspect.signature(call).parameters.items():
            if all(word in KINDS for word in str(parameter.annotation).split(" | ")):
                seen += 1
                with pytest.raises(UsageError, match=f"'{name}' is of type object, and not "):
                    call(**{name: object()})
    assert seen > 60
    assert list(tmp_path.iterdir()) == []


def test_what_fits_passes_in_every_form_that_python_has(project: Project) -> None:
    """Numbers and texts of numpy, paths as paths, one name for a list of one, generators."""
    numpy = pytest.importorskip("numpy")
    project.add(b"model", name="m.bin", tags="prod")
    registry = ModelRegistry(numpy.str_(project.folder))
    assert len(registry.log(limit=numpy.int64(1))) == 1
    assert registry.search(limit=0) == []
    shape = numpy.array([1, 2]).tolist()
    names: Any = (tag for tag in "ab")
    added = registry.add("net", project.folder / "m.bin", tags=names, input_shape=shape)
    assert added.tags == ("a", "b")


@pytest.mark.parametrize("change", [BestRule("acc", "higher"), Policy(tagged="yes")])  # type: ignore[arg-type]  # that is the point
def test_no_event_is_published_that_cannot_be_read(project: Project, change: Any) -> None:
    """Whoever asks for it: the writer reads its own text before that has a name."""
    project.add(b"model")
    event = Event("net", "0" * 32, "2026-11-29T00:00:00.000000Z", change, "eve", None, 1)
    with pytest.raises(UsageError, match="could not be read again"):
        fileio.run(project.registry().manifest.create_event("net", event))
    assert project.registry().manifest.event_numbers("net") == []
    assert project.registry().fsck().ok


def test_no_record_is_published_that_cannot_be_read(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the manifest nor as a root, which would stop every gc of the store."""
    project.add(b"model")
    with monkeypatch.context() as patched:
        patched.setattr(environment, "author", lambda: 7)
        with pytest.raises(UsageError, match=r"could not be read again: .*'author' is 7"):
            project.add(b"another")
    assert project.registry().list("net") == ["v1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert project.registry().fsck().ok
    assert len(list((project.mvc / "store" / "roots").glob("*/*.yaml"))) == 1


@pytest.mark.filterwarnings("ignore::mvc.StoreWarning")
@pytest.mark.parametrize("what", ["event", "record"])
def test_what_nobody_could_ever_read_is_put_aside_as_fsck_says(
    project: Project, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The command in the remedy makes the family readable, and the store collectable, again."""
    project.add(b"model", metrics={"acc": 1})
    with monkeypatch.context() as patched:
        for module in (manifests, intake):  # as an mvc that did not look
            patched.setattr(module, "read_again", lambda data, read: data)
        patched.setattr(environment, "author", lambda: 7)
        if what == "event":
            with pytest.raises(Damaged):
                project.registry().tag("net@v1", "prod")
        else:
            project.add(b"another")
    (finding,) = project.registry().fsck().findings
    assert finding.kind == what
    copy, _, command = finding.remedy.partition("; if there is none, go on without it: ")
    assert copy.endswith("put the file back from a copy (git, a backup)")
    subprocess.run(command, shell=True, check=True)
    registry = project.registry()
    assert registry.fsck().ok
    assert registry.list("net") == ["v1"]
    assert registry.gc("0").withdrawn == ()
    assert registry.add("net", project.file(b"third"), tags="prod").id == "net/v2"
