"""The hub's own library, ``huggingface_hub``: imported here, quiet, its errors in mvc's words.

Public names: ``library``, ``silent_bar``, ``in_words``, ``Unreachable``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

from mvc import progress
from mvc.errors import MvcError, NotFound, RemoteFailed, Unsupported, UsageError
from mvc.registry.imports.address import without_login

_AGAIN = "look at the network, then run it again; whole files are not downloaded again"
_LOGIN = "hf auth login, or HF_TOKEN=…, gives access to what is private"


class Unreachable(RemoteFailed):
    """The hub could not be asked at all."""


def library() -> Any:
    """Import the library.

    Raises:
        Unsupported: It is not installed, or too old.
    """
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
        from huggingface_hub import get_cached_repo_tree  # noqa: F401  # the newest that is used
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        what = f"{error.name} is not installed" if missing else "huggingface_hub is too old"
        raise Unsupported(what, hint="pip install 'mvc-registry[hf]'") from None
    return huggingface_hub


def silent_bar(library: Any) -> type:
    """Return what the library tells how far it is, instead of drawing it."""
    context = copy_context()  # the library's threads know no job
    base: Any = library.utils.tqdm

    class Silent(base):  # type: ignore[misc]  # the library is imported when used
        """One of several that the library makes: that of the files' bytes is handed on."""

        def __init__(self, *args: Any, **options: Any) -> None:
            options["disable"] = True
            self.counts = options.get("unit") == "B" and options.get("desc") != "Downloading bytes"
            super().__init__(*args, **options)

        def update(self, n: float | None = 1) -> None:
            if self.counts:
                context.copy().run(progress.advance, int(n or 0))

    return Silent


@contextlib.contextmanager
def in_words(
    library: Any, repository: str, revision: str | None, *, offline: bool = False
) -> Iterator[None]:
    """Turn what the library raises into what it means; ``offline`` if nobody was to be asked."""
    errors, name = library.errors, f"'hf:{repository}'"
    try:
        yield
    except MvcError:
        raise
    except errors.GatedRepoError:
        page = f"{without_login(library.constants.ENDPOINT)}/{repository}"
        raise RemoteFailed(
            f"{name} is given to those who accepted its conditions",
            hint=f"accept them at {page}, then: hf auth login",
        ) from None
    except errors.RepositoryNotFoundError:
        raise RemoteFailed(f"there is no {name}, or it is private", hint=_LOGIN) from None
    except errors.RevisionNotFoundError:
        raise RemoteFailed(
            f"{name} has no revision '{revision}'", hint="a branch, a tag or a commit; main if none"
        ) from None
    except errors.LocalEntryNotFoundError:
        if not offline:
            raise Unreachable(
                f"{name} cannot be downloaded: the hub does not answer", hint=_AGAIN
            ) from None
        raise NotFound(
            f"{name} is not cached, and may not be downloaded offline",
            hint="do it once without --offline, MVC_OFFLINE and HF_HUB_OFFLINE",
        ) from None
    except errors.HFValidationError as error:
        said = str(error).partition(":")[0].partition("\n")[0][:120]
        raise UsageError(f"{name} is no repository: {said}", hint="as in hf:org/name") from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "?")
        raise Unreachable(
            f"the hub answers {status} for {name}", hint="try again later; what has come is kept"
        ) from None
    except (OSError, errors.HfHubHTTPError.__bases__[0]) as error:  # of its HTTP library
        if getattr(error, "errno", None) is not None and not isinstance(error, ConnectionError):
            raise  # of this machine, such as a full disk
        said = str(error).partition("\n")[0][:120] or type(error).__name__
        raise Unreachable(
            f"{name} cannot be downloaded ({said})",
            hint=_AGAIN,
        ) from None
