"""``mvc checkout``.

Public names: ``checkout``.
"""

from __future__ import annotations

import time

import click

from mvc.cli import command, output


@command.command(
    "checkout",
    usage="REF [OPTIONS]",
    examples=[
        ("mvc checkout resnet18", "the newest version, under the name of its file"),
        ("mvc checkout resnet18@best -o model.pt", "the best one, as model.pt"),
        ("mvc checkout resnet18@v3 -o models/", "into a folder that exists"),
    ],
    statuses={
        3: "the version is damaged; nothing was written",
        4: "no such version",
        5: "something else is in the way; --force replaces it",
    },
)
@click.argument("ref")
@click.option(
    "-o",
    "--output",
    "target",
    metavar="PATH",
    help="The file to write, or a folder for it.  [default: its own name, here]",
)
@click.option("--force", is_flag=True, help="Replace a file that holds something else.")
@command.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print only the path.")
def checkout(ref: str, target: str | None, force: bool, as_json: bool, quiet: bool) -> None:
    """Write a version's file here.

    The file is your own copy, with exactly the bytes that were registered:
    they are compared before it gets its name. A file in the way is replaced
    if it is itself a version that is registered here; anything else is kept
    unless --force is given. The last line printed is the path.
    """
    started = time.monotonic()
    done = command.open_registry().checkout(ref, target, force=force)
    if as_json:
        output.json_result(done.as_dict())
        return
    if not quiet:
        size = output.size(done.artifact.size)
        seconds = time.monotonic() - started
        happened = f"{size} written, {seconds:.1f} s" if done.written else "was there already"
        output.say(f"{done.id}: {happened}")
    output.result(str(done.path))
