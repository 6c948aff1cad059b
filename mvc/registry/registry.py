"""``ModelRegistry``: a registry as Python sees it, and all that the command line uses.

It opens a registry and its store when first needed and hands every question
to the module that answers it. Reading creates nothing.

Public names: ``ModelRegistry``.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from mvc import durability, environment, fileio
from mvc.errors import Busy, MvcError, NotFound, UsageError
from mvc.registry import changes, family, reach, refs, resolve
from mvc.registry.arguments import checking
from mvc.registry.family import Family
from mvc.registry.import_methods import ImportMethods
from mvc.registry.location import newest, place
from mvc.registry.location.place import AnyPath, Place
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.names import by_name, several
from mvc.registry.refs import AnyRef
from mvc.registry.version import Added, CheckedOut, Version
from mvc.system_errors import speaking

if TYPE_CHECKING:
    from mvc.registry.care.usage import Usage
    from mvc.registry.intake.unchanged import IfChanged
    from mvc.registry.status import Status
    from mvc.tree import TreeFile


@speaking
@checking
class ModelRegistry(ImportMethods):
    """A registry of model families in a folder.

    Where a method takes a ref, as ``"resnet18@best"``, it takes a ``Version`` too.

    Beside the errors that it names, a method raises ``UsageError`` for a ref, name or
    value that is none, ``NotFound`` where there is no registry, family, version or store,
    ``Damaged`` and ``Unsupported`` for a record that is not whole or of a newer mvc, and
    ``SystemFailed`` where the disk fails, is full, or may not be read or written to.

    Args:
        path: The project folder, or its ``.mvc``. ``None`` means ``MVC_DIR``,
            else the nearest registry upward from the working folder, else a
            new one there.
        store: Where to look first for the registry's store (``MVC_STORE``).
        create: Whether the first ``register`` may make the registry.
    """

    def __init__(
        self, path: AnyPath | None = None, *, store: AnyPath | None = None, create: bool = True
    ) -> None:
        durability.choose(environment.durability(durability.LEVELS))
        self._create = create
        named = Path(store) if store else environment.store_folder()
        self._named_store = None if named is None else place.tidy(named)
        self.folder = place.at(Path(path)) if path is not None else _search()

    def __repr__(self) -> str:
        return f"ModelRegistry({str(self.folder.parent)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how another process opens the same registry; what was read of it stays here."""
        opened = partial(type(self), self.folder, store=self._named_store, create=self._create)
        return opened, ()

    # What the mission names.

    def register(
        self,
        name: str,
        model_path: AnyPath,
        metrics: Mapping[str, SupportsFloat] | None = None,
        **options: Any,
    ) -> str:
        """Register a model file or folder as the next version of ``name`` and return its id.

        ``options`` are those of ``add``, and so are the errors.

        Returns:
            ``"resnet18/v1"``, which every other method takes.
        """
        return self.add(name, model_path, metrics, **options).id

    def get(self, name: AnyRef, version: str = "latest") -> dict[str, Any]:
        """Return all that is known of a version, as a dictionary.

        ``get("resnet18", "best")``, ``get("resnet18@best")`` and
        ``get("resnet18/v2")`` are all understood.

        Raises:
            NotFound: There is no such version.

        Warns:
            StoreWarning: Its bytes are not all there.
        """
        if isinstance(name, str) and name and not any(mark in name for mark in "@/~:"):
            name = f"{name}@{version}"
        return self.show(name).as_dict()

    def list(
        self, name: str | None = None, *, where: str | Sequence[str] | None = None
    ) -> list[str]:
        """Return the names of all families, or the versions of one that are not withdrawn.

        Args:
            where: As ``families`` and ``search`` take it: only what it is true of.

        Raises:
            NotFound: There is no family ``name``; or no registry, and none may be made.
        """
        if self._is_to_come:
            if name is None:
                return []
            raise NotFound(f"no family '{name}'", hint=f"there is no registry in '{self.folder}'")
        if name is None:
            return [known.name for known in self.families(where=where)]
        if where is not None:
            found = (version.number for version in self.search(where, name=name))
            return [f"v{n}" for n in sorted(found)]
        known = self.family(name)
        return [f"v{n}" for n in known.live(self.manifest)]

    # Reading.

    @cached_property
    def manifest(self) -> Manifest:
        """The registry's records and events."""
        return Manifest(self.place.manifest, self.place.query_index)

    def family(self, name: str) -> Family:
        """Return the state of one family."""
        return family.load(self.manifest, name)

    def resolve(self, ref: AnyRef) -> Version:
        """Return the version that ``ref`` means.

        Raises:
            UsageError: It is not a ref.
            NotFound: There is no such version, or it was withdrawn.
        """
        found, number = resolve.resolve(self.manifest, ref)
        return resolve.version_of(self.manifest, self.presence, found, number)

    def show(self, ref: AnyRef) -> Version:
        """Like ``resolve``, and look for the version's bytes.

        Warns:
            StoreWarning: They are not all in the store.
        """
        found, number = resolve.resolve(self.manifest, ref, whole=True)
        return resolve.checked(self.presence, self._version(found.folder, number))

    def files(self, ref: AnyRef) -> tuple[TreeFile, ...]:
        """Return the files of a version: its one, or those of a directory, sorted by path.

        Raises:
            NotFound: There is no such version.
            StoreMissing: Its record does not list the files, and the store is away.
            Damaged: The store has no whole list of them.
        """
        return reach.files_of(self.presence.if_there(), self.resolve(ref).artifact)

    def log(
        self, name: str | None = None, *, limit: int | None = None, withdrawn: bool = False
    ) -> builtins.list[Version]:
        """Return versions, newest first, of one family or of all; ``limit`` of them at most.

        Args:
            withdrawn: Return those that are out of use, instead of those in use.

        Warns:
            UnreadWarning: A family or record cannot be read; it is left out.
        """
        if self._is_to_come and name is None:
            return []
        return resolve.log(self.manifest, self.presence, name, limit, withdrawn)

    def status(self, folder: AnyPath = ".") -> Status:
        """Compare the model files in a folder with what is registered.

        Raises:
            NotFound: There is no such folder.
        """
        from mvc.registry import status

        where = Path(folder)
        if not where.is_dir():
            raise NotFound(f"no folder '{where}'", hint="ls shows what is here")
        return status.status(self.place, self.manifest, self.presence, where)

    def du(self) -> Usage:
        """Return what the versions cost on disk, shared bytes counted once."""
        from mvc.registry.care import usage

        return self._where_it_is(
            lambda place, presence: usage.usage(place, self.manifest, presence)
        )

    # Writing.

    def init(self, *, store: AnyPath | None = None) -> bool:
        """Make the registry; False if it is there already.

        Args:
            store: Where its store is to be made; or is already, with other registries on it.
                A registry that is there takes it if its own store is empty.

        Raises:
            Conflict: ``store`` is a folder of other things, or the registry has versions
                in another store.
        """
        from mvc.registry.location import founding

        where = None if store is None else place.tidy(Path(store))
        made = founding.create(self.folder, where)
        self._reopen()
        return made

    def add(
        self,
        name: str,
        path: AnyPath | None = None,
        metrics: Mapping[str, SupportsFloat] | None = None,
        *,
        from_version: AnyRef | None = None,
        if_changed: IfChanged = False,
        refuse_code: bool = False,
        require: str | Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        lineage: Mapping[str, Any] | None = None,
        parents: AnyRef | Sequence[AnyRef] = (),
        framework: str | None = None,
        architecture: str | None = None,
        input_shape: Sequence[int] | None = None,
        labels: Mapping[str, str] | None = None,
        message: str | None = None,
        tags: Sequence[str] = (),
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> Added:
        """Register a model file, or a folder with all its files, as the next version of ``name``.

        The files are only read. When this returns the version is durable: they may be deleted.
        ``include`` and ``exclude`` are globs for the files of a folder (``docs/folders.md``);
        ``params``, ``lineage``, ``labels`` are values by name. Half a model is a ``ModelWarning``.

        Args:
            from_version: A ref instead of a path: its file, model, parameters and lineage.
            if_changed: Return the latest if it says the same, or with ``"any"`` any of its bytes.
            refuse_code: Refuse what may run code when it is loaded; see ``docs/safety.md``.
            require: An expression, or several, that must be true of it; see ``docs/search.md``.
            metrics: Anything with ``__float__`` by name; what is not finite is never best.
            parents: Refs of the versions this one was made from; they may be withdrawn.
            framework: Detected from the file where not given.
            tags: Moved to the new version once it exists.

        Raises:
            UsageError: A name or value is not allowed; nothing was stored.
            NotFound: There is no such file, or no version that a ref means.
            Conflict: A file changed while it was read.
            Refused: ``require`` is not true of it, or ``refuse_code`` and it may run code.
        """
        given: dict[str, Any] = {
            "metrics": by_name("metrics", metrics),
            "params": by_name("params", params),
            "lineage": by_name("lineage", lineage),
            "parents": several(parents),
            "framework": framework,
            "architecture": architecture,
            "input_shape": input_shape,
            "labels": by_name("labels", labels),
            "message": message,
            "tags": several(tags),
            "if_changed": if_changed,
            "refuse_code": refuse_code,
            "require": require,
        }
        return self._add(name, path, from_version, given, (several(include), several(exclude)))

    def checkout(
        self,
        ref: AnyRef,
        output: AnyPath | None = None,
        *,
        force: bool = False,
        link: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> CheckedOut:
        """Write a version's files into the working folder, or to ``output``.

        A file goes to its name, a directory to a folder with the family's;
        ``family@version:path`` is one file of a directory.

        Args:
            output: The file to write, or an existing folder to write it into;
                for a directory the folder itself.
            force: Replace files that hold something else, and write a
                directory into a folder that holds nothing of its family.
            link: Make links to the read-only files of ``path`` instead of
                copies. They cost nothing, and must not be edited.
            include, exclude: Globs for the files of a directory, as of ``add``; what
                else is in the folder then stays as it is.

        Raises:
            UsageError: There is no folder to write into, or globs are given for one file.
            NotFound: There is no such version or file.
            Damaged: Its bytes are not whole; nothing was written.
            Conflict: What is there holds bytes that are no version of this
                registry, or is a link, a folder where a file must be, or the like;
                or a folder that a directory is to go to holds other things only.
        """
        from mvc.registry.checkout import checkout
        from mvc.registry.selection import Selection

        found, number, path = self._resolve_path(ref)
        target = None if output is None else Path(output)
        into = output is not None and os.fspath(output).endswith(os.sep)
        selection = Selection(several(include), several(exclude))
        wish = checkout.Wish(found, number, path, target, into, force, link, selection)
        return checkout.checkout(self.place, self.manifest, self.presence, wish)

    def path(self, ref: AnyRef) -> Path:
        """Return a read-only file or folder with a version's bytes, shared by all who ask.

        It lies in the cache: ``MVC_CACHE``, else that of the registry if it
        may be written to, else the user's. Its bytes are compared when it is
        made, and again when its size, times or inode change.

        Raises:
            NotFound: There is no such version or file.
            Damaged: Its bytes are not whole.
            MvcError: The cache may not be written to.
        """
        from mvc.registry.checkout import paths

        found, number, path = self._resolve_path(ref)
        return paths.path(self.place, self.manifest, self.presence, found, number, path)

    def rm(self, ref: AnyRef, *, force: bool = False, message: str | None = None) -> Version:
        """Withdraw one version, given exactly; ``restore`` takes it back until gc.

        Raises:
            UsageError: ``ref`` does not name one version by its number.
            Conflict: The version bears a tag, without ``force``.
        """
        self._root_if_writable()
        found, number = changes.withdraw(self.manifest, ref, force, message)
        return self._version(found, number)

    def restore(self, ref: AnyRef) -> Version:
        """Take back a withdrawal.

        Raises:
            UsageError: ``ref`` does not name one version by its number.
            NotFound: There is no such version, or gc gave up its bytes.
        """
        self._root_if_writable()
        found, number = changes.restore(self.manifest, ref)
        return self._version(found, number)

    def _add(
        self,
        name: str,
        path: Any,
        ref: AnyRef | None,
        given: dict[str, Any],
        globs: tuple[tuple[str, ...], tuple[str, ...]],
    ) -> Added:
        from mvc.registry.intake import intake
        from mvc.registry.intake.origin import origin_of
        from mvc.registry.selection import ALL, Selection

        if path is not None and os.path.isfile(name) and not os.path.lexists(path):
            hint = f"add({os.fspath(path)!r}, {name!r})"
            raise UsageError(f"'{name}' is a file; the family comes first", hint=hint)
        selection = Selection(*globs)
        if path is not None and ref is None:
            if self._is_to_come:
                self.init()
            added = intake.add(*self._writing(), name, Path(path), intake.Facts(**given), selection)
        elif path is None and ref is not None and selection == ALL:
            origin = origin_of(self.manifest, ref)
            facts = intake.Facts(**origin.inherited(given))
            added = intake.add_from(*self._writing(), name, origin, facts)
        elif path is None and ref is not None:
            raise UsageError(
                f"'{refs.parse(ref).text}' is taken with all its files",
                hint="--include and --exclude choose files of a folder that is added",
            )
        else:
            raise UsageError("either a path or from_version is needed, and not both")
        if added.new:
            newest.note(self.place, self.manifest, added)
            self._note_rooted(added.family)
            return self._after_add(added)
        return added

    def _writing(
        self, *, if_old: bool = False, always: bool = False, strict: bool = False
    ) -> tuple[Place, Manifest, Presence]:
        """Return the registry's parts for what puts into the store, or takes from it."""
        if self.presence.is_outdated():
            self._reopen()
        presence = self.presence
        try:
            store = presence.writable(if_old=if_old)
        except MvcError as error:
            same = presence is self.presence and not presence.is_outdated()
            if same or isinstance(error, Busy):
                raise
            self._reopen()  # the store was moved after the settings were read
            store = self.presence.writable(if_old=if_old)
        if self.place.is_copy:
            from mvc.registry.location import founding

            fileio.run(founding.settle_copy(self.place, self.manifest, store))
            self._reopen()
        self._root_pulled(always=always, strict=strict)
        return self.place, self.manifest, self.presence

    def _resolve_path(self, ref: AnyRef) -> tuple[Family, int, str | None]:
        found, number = resolve.resolve(self.manifest, ref)
        return found, number, refs.parse(ref).path

    def _version(self, name: str, number: int) -> Version:
        return resolve.version_of(self.manifest, self.presence, self.family(name), number)


def _search() -> Path:
    named = environment.registry_folder()
    if named is not None:
        return place.at(named)
    try:
        return place.find(Path.cwd())
    except NotFound:
        here = place.at(Path.cwd())
        if place.exists(here):  # it was passed over, and is not to be taken for a new one
            raise
        return here
