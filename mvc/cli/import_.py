"""``mvc import``.

Public names: ``import_``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from mvc.cli import add, command, output, values
from mvc.errors import Conflict, UsageError

if TYPE_CHECKING:
    from mvc.registry.version import Imported


@command.command(
    "import",
    usage="SOURCE [--family FAMILY] [OPTIONS]",
    examples=[
        ("mvc import torchvision:resnet18", "with its metrics: resnet18/v1"),
        ("mvc import hf:google-bert/bert-base-uncased", "bert-base-uncased/v1, a folder"),
        ("mvc import https://example.org/m.pt --family bert -t base", "as a version of bert"),
    ],
    statuses={
        1: "refused: it may run code when it is loaded",
        4: "no registry or parent; or not downloaded before, and offline",
        5: "added, but a tag could not be set; or what was downloaded was deleted meanwhile",
        6: "another process is downloading it, and nothing comes",
        7: "it cannot be downloaded, or is not what was asked for",
    },
)
@click.argument("source", required=False)
@click.argument("more", nargs=-1, metavar="")
@click.option(
    "--family", "name", metavar="FAMILY", help="What it is a version of.  [default: by its name]"
)
@click.option("--sha256", metavar="HEX", help="The SHA-256 that the file must have.")
@click.option("--revision", metavar="REV", help="Of a repository, a branch, tag or commit.")
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Of a repository, take only files like this."
)
@click.option(
    "--exclude", multiple=True, metavar="GLOB", help="Of a repository, take no files like this."
)
@click.option("--offline", is_flag=True, help="Take what was downloaded before, or nothing.")
@click.option(
    "-m", "--metric", "metrics", multiple=True, metavar="NAME=NUMBER", help="A result, as acc=0.95."
)
@click.option(
    "-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A setting, as lr=1e-5."
)
@click.option(
    "-l", "--lineage", multiple=True, metavar="NAME=VALUE", help="As dataset=imagenet-1k."
)
@click.option("--arch", "architecture", metavar="NAME", help="The architecture, as resnet18.")
@click.option(
    "-t", "--tag", "tags", multiple=True, metavar="TAG", help="A tag to set on the version."
)
@click.option("--message", metavar="TEXT", help="A note on this version.")
@click.option(
    "--refuse-code", is_flag=True, help="Refuse what may run code when it is loaded (status 1)."
)
@command.as_json
@command.quiet
def import_(
    source: str | None,
    more: tuple[str, ...],
    name: str | None,
    metrics: tuple[str, ...],
    params: tuple[str, ...],
    lineage: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Download a model once, and register it.

    SOURCE is the URL of a file, torchvision:MODEL[@WEIGHTS], or a repository
    of the Hugging Face Hub, hf:ORG/NAME[@REVISION].

    What is downloaded lies in pretrained_models, beside .mvc, a repository in
    the cache of huggingface_hub. It is not downloaded again while it is the
    same there; a download that broke off, or was interrupted, goes on where
    it was. Where it came from stands in the version's lineage, without logins
    and signatures.

    Of a repository, weights in other formats are left out where there are
    .safetensors beside them, unless --include says which files are meant.

    The last line printed is the version's id. The same bytes again are no new
    version. --offline, or MVC_OFFLINE=1, asks nobody.
    """
    if source is None:
        raise UsageError("what is to be imported?", hint="mvc import torchvision:resnet18")
    if more:
        family = source if ":" in more[0] and ":" not in source else more[0]
        raise UsageError(
            f"'{family}' is one word too many", hint=f"mvc import SOURCE --family {family}"
        )
    registry, started = command.open_registry(), time.monotonic()
    imported = registry.import_(
        source,
        name,
        values.metrics(metrics),
        params=values.values(params, "-p"),
        lineage=values.values(lineage, "-l"),
        **options,
    )
    if as_json:
        output.json_result(imported.as_dict())
    else:
        if not quiet:
            _tell(imported, time.monotonic() - started)
        output.result(imported.id)
    return Conflict.status if imported.untagged else 0


def _tell(imported: Imported, seconds: float) -> None:
    place = output.path(imported.path)
    if imported.received:
        output.say(f"{output.size(imported.received)} downloaded to {place}")
    else:
        output.say(f"nothing to download: it is in {place}")
    add.tell(imported, seconds)
