"""Errors: what scripts and the exit status are promised."""

from __future__ import annotations

import pytest

from mvc import errors

# Never changed, only added to.
CODES = {
    errors.MvcError: ("failed", 8),
    errors.UsageError: ("usage", 2),
    errors.Refused: ("refused", 1),
    errors.Damaged: ("damaged", 3),
    errors.FormatError: ("format", 3),
    errors.NotFound: ("not-found", 4),
    errors.StoreMissing: ("store-missing", 4),
    errors.Conflict: ("conflict", 5),
    errors.Busy: ("busy", 6),
    errors.RemoteFailed: ("remote", 7),
    errors.SystemFailed: ("system", 8),
    errors.NotPermitted: ("permission", 8),
    errors.MissingFile: ("not-found", 4),
    errors.Unsupported: ("unsupported", 8),
}


def test_codes_and_statuses_stay_what_scripts_know() -> None:
    """Every class of error has the word and the exit status it has always had."""
    found = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.MvcError)
    ]
    assert {cls: (cls.code, cls.status) for cls in found} == CODES


def test_errors_are_those_of_python_as_well() -> None:
    """A caller that knows only Python's own errors catches the ones that have a counterpart."""
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.NotFound, LookupError)
    assert issubclass(errors.FormatError, errors.Damaged)
    assert not issubclass(errors.Unsupported, errors.Damaged)
    assert issubclass(errors.StoreWarning, UserWarning)


@pytest.mark.parametrize("cls", CODES)
def test_a_hint_is_kept_apart_from_the_message(cls: type[errors.MvcError]) -> None:
    """Message and hint are read separately, and ``str`` shows both."""
    error = cls("no 'x'", hint="mvc list")
    assert (error.message, error.hint, str(error)) == ("no 'x'", "mvc list", "no 'x' (mvc list)")
    assert str(cls("no 'x'")) == "no 'x'"
