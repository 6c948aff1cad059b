"""A registry against a model of it: after any series of commands, both answer alike.

The model is a few lists and sets a family; whatever the registry keeps in
files, packs and caches must never show.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mvc import Conflict, ModelRegistry, NotFound, UsageError
from mvc.digest import digest_of
from tests.support.registry_builders import MIB, Project, noise

FAMILIES = ["net", "other"]
TAGS = ["prod", "test"]
CONTENTS = [b"", b"a", b"b" * 5000, noise(70_000), noise(4 * MIB + 5), noise(4 * MIB + 5) + b"end"]
METRICS = ["acc", "loss", "sharpness"]
KNOWN = {"acc": "max", "loss": "min"}

families = st.sampled_from(FAMILIES)
tags = st.sampled_from(TAGS)
numbers = st.integers(1, 6)
metrics = st.dictionaries(
    st.sampled_from(METRICS), st.sampled_from([0.5, 1, 1.0, -2.5, math.nan, math.inf]), max_size=2
)


@dataclass
class Model:
    """What a family is, in the plainest words.

    ``moves`` has for each tag where it stood, and last where it stands;
    ``None`` where it was deleted. A rollback shortens it.
    """

    contents: list[bytes] = field(default_factory=list)
    metrics: list[dict[str, float]] = field(default_factory=list)
    withdrawn: set[int] = field(default_factory=set)
    moves: dict[str, list[int | None]] = field(default_factory=dict)
    chosen: tuple[str, str] | None = None
    keep: tuple[int | None, int | None] | None = None
    restored: set[int] = field(default_factory=set)

    @property
    def live(self) -> list[int]:
        return [n for n in range(1, len(self.contents) + 1) if n not in self.withdrawn]

    @property
    def tags(self) -> dict[str, int]:
        return {tag: moves[-1] for tag, moves in self.moves.items() if moves and moves[-1]}

    @property
    def rule(self) -> tuple[str, str] | None:
        given = [name for said in self.metrics for name in said]
        known = [(name, KNOWN[name]) for name in given if name in KNOWN]
        return next(iter([*([self.chosen] if self.chosen else []), *known]), None) or (
            (given[0], "max") if given else None
        )

    @property
    def guessed(self) -> bool:
        return not self.chosen and not any(name in KNOWN for said in self.metrics for name in said)

    @property
    def ranking(self) -> list[int]:
        if self.rule is None:
            return []
        metric, mode = self.rule
        values = {n: self.metrics[n - 1].get(metric, math.nan) for n in self.live}
        sign = 1 if mode == "min" else -1
        return [n for _, n in sorted((sign * v, n) for n, v in values.items() if math.isfinite(v))]

    @property
    def best(self) -> int | None:
        return next(iter(self.ranking), None)

    @property
    def unnamed(self) -> set[int]:
        last, best = self.keep or (None, None)
        if not self.keep or (best and (self.guessed or not self.ranking)):
            return set()
        named = {*self.live[-(last or 1) :], *self.ranking[: best or 0], *self.tags.values()}
        return {*self.live} - named - self.restored

    def bears(self, number: int) -> bool:
        return number in self.tags.values()

    def go_back(self, tag: str) -> int | None:
        """Shorten the moves of a tag to what a rollback leads to; ``None`` if there is nothing."""
        moves = self.moves.get(tag, [])
        for kept in range(len(moves) - 1, 0, -1):
            target = moves[kept - 1]
            if target is not None and target not in self.withdrawn and target != moves[-1]:
                self.moves[tag] = moves[:kept]
                return target
        return None


def ids_of(family: str, model: Model) -> set[str]:
    return {f"{family}/v{number}" for number in model.unnamed}


class RegistryMachine(RuleBasedStateMachine):
    """Runs commands on a registry and on its model."""

    registry: ModelRegistry

    @initialize()
    def begin(self) -> None:
        self.project = Project(Path(tempfile.mkdtemp()))
        self.patch = pytest.MonkeyPatch()
        self.patch.chdir(self.project.folder)
        self.models = {family: Model() for family in FAMILIES}
        self.reopen()
        self.registry.init()

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert self.registry.fsck("full").ok
            self.patch.undo()
            shutil.rmtree(self.project.folder)

    @rule()
    def reopen(self) -> None:
        self.registry = self.project.registry()

    @rule(family=families)
    def forget_answers(self, family: str) -> None:
        self.project.family_file(family).unlink(missing_ok=True)

    @rule(family=families)
    def let_time_pass(self, family: str) -> None:
        """Let changes lie in the past, so that what ``family.yaml`` notes is believed."""
        for name in ("versions", "events"):
            folder = self.project.mvc / "manifest" / family / name
            if folder.exists():
                moment = time.time_ns() - 60_000_000_000
                os.utime(folder, ns=(moment, moment))

    @rule(
        family=families, which=st.integers(0, len(CONTENTS) - 1), said=metrics, tag=st.none() | tags
    )
    def add(self, family: str, which: int, said: dict[str, float], tag: str | None) -> None:
        content = CONTENTS[which]
        path = self.project.file(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            added = self.registry.add(family, path, said, tags=[tag] if tag else [])
        model = self.models[family]
        held = any(content in other.contents for other in self.models.values())
        model.contents.append(content)
        model.metrics.append(said)
        assert added.id == f"{family}/v{len(model.contents)}"
        assert added.stored == 0 or not held
        if tag:
            model.moves.setdefault(tag, []).append(len(model.contents))

    @rule(family=families, number=numbers, tag=tags, expect=st.none() | st.just("none") | numbers)
    def tag(self, family: str, number: int, tag: str, expect: str | int | None) -> None:
        model = self.models[family]
        standing = model.tags.get(tag)
        expected = f"v{expect}" if isinstance(expect, int) else expect
        call = f"{family}@v{number}", tag.upper()
        if number not in model.live:
            with pytest.raises(NotFound):
                self.registry.tag(*call, expect=expected)
        elif expected is not None and expected != (f"v{standing}" if standing else "none"):
            with pytest.raises(Conflict):
                self.registry.tag(*call, expect=expected)
        else:
            self.registry.tag(*call, expect=expected)
            if standing != number:
                model.moves.setdefault(tag, []).append(number)

    @rule(family=families, tag=tags)
    def delete_tag(self, family: str, tag: str) -> None:
        model = self.models[family]
        if tag not in model.tags:
            with pytest.raises(NotFound):
                self.registry.delete_tag(f"{family}@{tag}")
        else:
            self.registry.delete_tag(f"{family}@{tag}")
            model.moves[tag].append(None)

    @rule(family=families, tag=tags)
    def rollback(self, family: str, tag: str) -> None:
        target = self.models[family].go_back(tag)
        if target is None:
            with pytest.raises(NotFound):
                self.registry.rollback(f"{family}@{tag}")
        else:
            assert self.registry.rollback(f"{family}@{tag}").version == f"v{target}"

    @rule(family=families, number=numbers, force=st.booleans())
    def rm(self, family: str, number: int, force: bool) -> None:
        model = self.models[family]
        if number not in model.live:
            with pytest.raises(NotFound):
                self.registry.rm(f"{family}/v{number}", force=force)
        elif model.bears(number) and not force:
            with pytest.raises(Conflict):
                self.registry.rm(f"{family}/v{number}")
        else:
            assert self.registry.rm(f"{family}/v{number}", force=force).withdrawn
            model.withdrawn.add(number)
            model.restored.discard(number)

    @rule(family=families, number=numbers)
    def restore(self, family: str, number: int) -> None:
        model = self.models[family]
        if number > len(model.contents):
            with pytest.raises(NotFound):
                self.registry.restore(f"{family}@v{number}")
        else:
            assert not self.registry.restore(f"{family}@v{number}").withdrawn
            if number in model.withdrawn:
                model.restored.add(number)
            model.withdrawn.discard(number)

    @rule(family=families, last=st.none() | st.integers(1, 3), best=st.none() | st.integers(1, 2))
    def keep(self, family: str, last: int | None, best: int | None) -> None:
        model = self.models[family]
        none = last is None and best is None
        if not model.contents:
            with pytest.raises(NotFound):
                self.registry.keep(family, last=last, best=best, none=none)
        elif best is not None and model.guessed:
            with pytest.raises(UsageError):
                self.registry.keep(family, last=last, best=best)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (kept,) = self.registry.keep(family, last=last, best=best, none=none)
            model.keep = None if none else (last, best)
            assert {going.id for going in kept.withdraws} == ids_of(family, model)

    @rule()
    def collect(self) -> None:
        expected = {identity for f, m in self.models.items() for identity in ids_of(f, m)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done = self.registry.gc()
        assert {item.name for item in done.withdrawn} == expected
        for model in self.models.values():
            model.withdrawn |= model.unnamed

    @rule(
        family=families, metric=st.sampled_from(METRICS), mode=st.sampled_from(["max", "min", None])
    )
    def choose_best(self, family: str, metric: str, mode: str | None) -> None:
        model = self.models[family]
        if not model.contents:
            with pytest.raises((NotFound, UsageError)):
                self.registry.best(family, metric, mode)
        elif any(model.metrics) and not any(metric in said for said in model.metrics):
            with pytest.raises(NotFound):
                self.registry.best(family, metric, mode)
        elif mode is None and metric not in KNOWN:
            with pytest.raises(UsageError):
                self.registry.best(family, metric, mode)
        else:
            self.registry.best(family, metric, mode)
            model.chosen = metric, mode or KNOWN[metric]

    @rule(family=families, number=numbers)
    def checkout(self, family: str, number: int) -> None:
        model = self.models[family]
        target = self.project.folder / "out"
        if number not in model.live:
            with pytest.raises(NotFound):
                self.registry.checkout(f"{family}@v{number}", target)
        else:
            self.registry.checkout(f"{family}@v{number}", target)
            assert target.read_bytes() == model.contents[number - 1]

    @invariant()
    def both_answer_alike(self) -> None:
        if not hasattr(self, "models"):
            return
        assert self.registry.list() == [f for f in FAMILIES if self.models[f].contents]
        for family, model in self.models.items():
            if model.contents:
                self.compare(family, model)

    def compare(self, family: str, model: Model) -> None:
        assert self.registry.list(family) == [f"v{number}" for number in model.live]
        known = self.registry.family(family)
        assert {tag.lower(): number for tag, number in known.tags.items()} == model.tags
        assert known.latest == max(model.live, default=None)
        assert (known.rule and (known.rule.metric, known.rule.mode)) == model.rule
        assert (known.best and known.best[0]) == model.best
        assert known.plain == sum(len(model.contents[number - 1]) for number in model.live)
        shown = self.registry.log(family)
        assert [version.number for version in shown] == model.live[::-1]
        for version in shown:
            assert version.present
            content = model.contents[version.number - 1]
            assert version.artifact.digest == digest_of(content)
            if len(content) < MIB:  # the others are read by checkout, and by fsck at the end
                assert self.registry.presence.store.get(version.artifact.digest) == content
            tags = {tag for tag, number in model.tags.items() if number == version.number}
            assert {tag.lower() for tag in version.tags} == tags


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
