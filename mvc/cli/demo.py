"""``mvc demo``: the main job on real networks, each step as a user would type it.

It works in ``./mvc-demo``, which it makes anew each time, and in no other
registry. Weights lie in ``./pretrained_models``, apart from any store, and are
downloaded once. Every claim it prints it has checked; one that does not hold
ends it with an error.

Public names: ``demo``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvc import environment, fileio
from mvc.cli import command, output
from mvc.errors import Conflict, MvcError

if TYPE_CHECKING:
    from mvc.cli.demo_models import Models
    from mvc.registry import ModelRegistry

FOLDER = "mvc-demo"
WEIGHTS = "pretrained_models"
# Only a folder that bears this is ever removed.
MARK = ".made-by-mvc-demo"
DAMAGED = "damaged-copy"

_RESNET = ["-l", "dataset=imagenet-1k", "--arch", "resnet18", "--input-shape", "1,3,224,224"]
_DENSENET = ["-l", "dataset=chest-xray14", "--arch", "densenet121", "--input-shape", "1,1,224,224"]


@command.command(
    "demo",
    examples=[
        ("mvc demo", "in an empty folder; 200 MB, a minute with a download"),
        ("cd mvc-demo && mvc list", "look around afterwards"),
    ],
    statuses={0: "every step worked, and was checked", 5: "./mvc-demo is not the demo's own"},
)
def demo() -> None:
    """Show the main job on real models, step by step.

    Registers torchvision's ResNet-18 and DenseNet-121 (without a network,
    the same architectures from a fixed seed; without torch, arrays of their
    shapes), gets the latest and the best back, damages a copy to see it
    noticed, withdraws and restores, moves a tag and rolls it back.

    Everything happens in ./mvc-demo; downloads go to ./pretrained_models.
    """
    from mvc.cli.demo_models import prepare
    from mvc.registry import ModelRegistry

    environment.forget_registry()
    start = Path.cwd()
    _fresh(start / FOLDER)
    models = prepare(start / WEIGHTS, start / FOLDER, say=output.say)
    os.chdir(start / FOLDER)
    output.result(f"\n$ cd {FOLDER}")
    _type("init", "-q")
    registry = ModelRegistry(Path.cwd(), create=False)
    _register(models, registry)
    _choose(registry)
    _get_back(models, registry)
    _other_format(models, registry)
    _name(registry)
    _withdraw(registry)
    _damage(registry)
    _report(registry)
    os.chdir(start)


def _register(models: Models, registry: ModelRegistry) -> None:
    _title("Two versions of one family; the second has better metrics and costs no weights")
    name = models.resnet.name
    _type("add", "resnet18", name, "-m", "acc=0.6976", "-m", "loss=1.247", *_RESNET)
    better = ["-m", "acc=0.7032", "-m", "loss=1.218", "--parent", "resnet18@v1"]
    before = registry.presence.store.size()
    _type("add", "resnet18", name, *better, *_RESNET)
    more = registry.presence.store.size() - before
    _check(more == 0, "resnet18/v2 took 0 bytes more in the store")
    _title("Another family")
    _type("add", "chest_xray_densenet", models.densenet.name, "-m", "auc=0.841", *_DENSENET)


def _choose(registry: ModelRegistry) -> None:
    _title("Which is the latest, which is the best?")
    _type("list")
    for ref in ("resnet18@latest", "resnet18@best"):
        _type("show", ref, "-q")
        _check(registry.resolve(ref).id == "resnet18/v2", f"{ref} is resnet18/v2")


def _get_back(models: Models, registry: ModelRegistry) -> None:
    _title("Get the best one back")
    back = f"back{models.resnet.suffix}"
    _type("checkout", "resnet18@best", "-o", back)
    _check(Path(back).read_bytes() == models.resnet.read_bytes(), "the same file, byte for byte")
    _check_tensors(models, models.resnet, Path(back))


def _other_format(models: Models, registry: ModelRegistry) -> None:
    _title(f"The same weights as {models.other_words}")
    before = registry.presence.store.size()
    _type("add", "resnet18_again", models.other.name)
    first, second = registry.resolve("resnet18@v1"), registry.resolve("resnet18_again@v1")
    _check(first.artifact.digest != second.artifact.digest, "it is another file,")
    _check(first.weights == second.weights, "with the same digest of weights:")
    more = registry.presence.store.size() - before
    size = second.artifact.size
    _check(more < size / 500, f"0 bytes of weights more; {output.size(more)} for its framing")
    _check_tensors(models, models.resnet, models.other)


def _name(registry: ModelRegistry) -> None:
    _title("A tag for what is in production, and the way back")
    _type("tag", "resnet18@v1", "prod")
    _type("tag", "resnet18@v2", "prod")
    _type("rollback", "resnet18@prod")
    _check(registry.resolve("resnet18@prod").id == "resnet18/v1", "prod is resnet18/v1 again")


def _withdraw(registry: ModelRegistry) -> None:
    _title("Take a version out of use, and back")
    _type("rm", "resnet18@v2")
    _check(registry.resolve("resnet18@latest").id == "resnet18/v1", "latest is v1 meanwhile")
    _type("restore", "resnet18@v2")
    _check(registry.resolve("resnet18@best").id == "resnet18/v2", "best is v2 again")


def _damage(registry: ModelRegistry) -> None:
    _title("One flipped byte in a copy of the registry does not pass")
    pack = _damaged_copy(registry.folder, Path(DAMAGED, registry.folder.name))
    output.say(f"(a byte of {DAMAGED}/…/{pack.name[:12]}….pack was flipped)")
    status = _type("-C", DAMAGED, "fsck", expect=3)
    _check(status == 3, "fsck names the versions that it hurts")
    _type("fsck")
    fileio.remove_folder(Path(DAMAGED))


def _report(registry: ModelRegistry) -> None:
    _title("What there is now")
    _type("list")
    _type("log")
    output.result("\nlineage")
    for version in reversed(registry.log()):
        parents = ", ".join(parent["id"] for parent in version.lineage["parents"]) or "-"
        dataset = version.lineage["dataset"] or "-"
        output.result(f"  {version.id:<24}  dataset {dataset:<14}  parents {parents}")
    usage = registry.du()
    rows = [("", "VERSIONS", "PLAIN COPIES", "IN MVC")]
    rows += [(f.family, str(f.versions), _mb(f.plain), _mb(f.stored)) for f in usage.families]
    rows.append(("together", str(usage.versions), _mb(usage.plain), _mb(usage.stored)))
    output.result("\nwhat it takes on disk (what families share is counted once in the last line)")
    output.table(rows, right=(1, 2, 3))
    output.result(f"\ndone; look around: cd {FOLDER} && mvc list")


def _type(*arguments: str, expect: int = 0) -> int:
    """Print a command and run it."""
    from mvc.cli.app import run

    here = Path.cwd()
    output.result("\n$ mvc " + " ".join(arguments))
    status = run(("--no-pager", *arguments))
    os.chdir(here)  # -C moves the process
    if status != expect:
        raise MvcError(f"'mvc {' '.join(arguments)}' ended with {status}, not {expect}")
    return status


def _title(text: str) -> None:
    output.result(click.style(f"\n# {text}", bold=True) if environment.colours() else f"\n# {text}")


def _check(holds: bool, claim: str) -> None:
    if not holds:
        raise MvcError(f"the demo found this not to be so: {claim}")
    output.result(f"  ✓ {claim}")


def _check_tensors(models: Models, left: Path, right: Path) -> None:
    count = models.same_tensors(left, right)
    _check(count > 0, f"{count} tensors, {models.compared_words}, equal bit for bit")


def _fresh(folder: Path) -> None:
    """Make the demo's folder anew, if it is the demo's."""
    if os.path.lexists(folder) and not (folder / MARK).is_file():
        raise Conflict(
            f"'{folder}' is there, and is not of an earlier demo",
            hint="move it away, or run mvc demo in another folder",
        )
    fileio.remove_folder(folder)
    fileio.make_folder(folder)
    fileio.replace(folder / MARK, b"mvc demo makes this folder anew each time\n")


def _damaged_copy(source: Path, target: Path) -> Path:
    """Copy a registry, flipping one byte in the middle of its largest pack; return that pack."""
    files = [path for path in source.rglob("*") if path.is_file()]
    victim = max(files, key=lambda path: path.stat().st_size)
    for path in files:
        data = bytearray(path.read_bytes())
        if path == victim:
            data[len(data) // 2] ^= 0xFF
        copy = target / path.relative_to(source)
        fileio.make_folder(copy.parent)
        fileio.replace(copy, data)
    return victim


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
