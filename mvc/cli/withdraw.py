"""``mvc rm`` and ``mvc restore``.

Public names: ``rm``, ``restore``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mvc.cli import command, output, versions

if TYPE_CHECKING:
    from mvc.registry import ModelRegistry, Version


@command.command(
    "rm",
    usage="REF... [OPTIONS]",
    examples=[
        ("mvc rm resnet18@v3", "withdraw one version"),
        ('mvc rm resnet18@v3 resnet18@v4 --message "wrong data"', "two, and why"),
        ("mvc restore resnet18@v3", "take it back"),
    ],
    statuses={4: "no such version", 5: "a version bears a tag; --force withdraws it all the same"},
)
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Withdraw versions that bear a tag, too.")
@click.option("--message", metavar="TEXT", help="Why.")
@command.as_json
@command.quiet
def rm(refs: tuple[str, ...], force: bool, message: str | None, as_json: bool, quiet: bool) -> None:
    """Withdraw versions; they can be restored.

    A withdrawn version is found no more: not by its number, a tag, latest or
    best. mvc restore takes it back, until mvc gc has freed its bytes, which it
    does after 14 days, or what mvc keep says. Its record stays, its number is
    never given again. A version is named by its number, so that none is
    withdrawn by mistake. Either all that are named are withdrawn, or none. A
    note says which versions of other families were made from them.
    """
    registry = command.open_registry()
    for ref in refs:
        if _is_refused(registry, ref, force):
            registry.rm(ref, force=force)  # says why
    done = [registry.rm(ref, force=force, message=message) for ref in refs]
    _answer(done, as_json)
    if not (quiet or as_json):
        versions.note_children(registry, (version.id for version in done))
        given = " ".join(f"{version.family}@{version.version}" for version in done)
        when = _grace(registry, done)
        output.note(f"mvc restore {given} takes it back; after {when} mvc gc frees the bytes")


@command.command(
    "restore",
    usage="REF... [OPTIONS]",
    examples=[
        ("mvc restore resnet18@v3", "it is found again"),
        ("mvc log resnet18 --withdrawn", "which ones could be restored"),
    ],
    statuses={4: "no such version, or its bytes were given up"},
)
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@command.as_json
@command.quiet
def restore(refs: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Take back a withdrawal.

    The version is found again as before: by its number, and as latest, best
    or by a tag where that fits. Restoring what is not withdrawn changes
    nothing.
    """
    registry = command.open_registry()
    done = [registry.restore(ref) for ref in refs]
    _answer(done, as_json)
    under_policy = {v.family for v in done if registry.family(v.family).keep.has_rules}
    if under_policy and not (quiet or as_json):
        output.note("mvc keep does not withdraw what was restored; mvc rm does")


def _is_refused(registry: ModelRegistry, text: str, force: bool) -> bool:
    """Say whether ``rm`` would refuse, so that no version goes before another is refused."""
    from mvc.registry import refs

    return not refs.parse(text).exact or (bool(registry.resolve(text).tags) and not force)


def _grace(registry: ModelRegistry, done: list[Version]) -> str:
    """Return how long versions just withdrawn can be restored, the first of them that go."""
    from mvc.registry.duration import written
    from mvc.registry.retention import grace_of

    families = {version.family for version in done}
    least = min(grace_of(registry.family(name).keep) for name in families)
    days = least.total_seconds() / 86_400
    return (
        f"{days:.0f} days"
        if days > 1 and days.is_integer()
        else written(int(least.total_seconds()))
    )


def _answer(done: list[Version], as_json: bool) -> None:
    if as_json:
        output.json_result([version.as_dict() for version in done])
    else:
        output.ids(done)
