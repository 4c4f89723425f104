"""Errors that name what went wrong, where, and how to go on; each carries its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class MedimgError(Exception):
    """Base of every error that medimg raises on purpose.

    Parameters
    ----------
    what : str
        One sentence: what is wrong.
    where : str or Path, optional
        The file, folder, table row or configuration key.
    got, expected : object, optional
        The offending value and what would have been right. Never an identifying value.
    fix : str, optional
        What the user can do about it.
    """

    exit_code = 70

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        got: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.where, self.got, self.expected, self.fix = what, where, got, expected, fix
        super().__init__(self.describe())

    def describe(self) -> str:
        """Return the message, one labelled line for each part that is known."""
        parts = [
            ("where", self.where),
            ("got", self.got),
            ("expected", self.expected),
            ("fix", self.fix),
        ]
        lines = [self.what] + [f"  {label + ':':<9} {value}" for label, value in parts if value is not None]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword arguments do not cross process borders by themselves (data loader workers).
        return _rebuild, (type(self), self.what, self.where, self.got, self.expected, self.fix)


def _rebuild(
    kind: type[MedimgError],
    what: str,
    where: str | Path | None,
    got: object,
    expected: object,
    fix: str | None,
) -> MedimgError:
    return kind(what, where=where, got=got, expected=expected, fix=fix)


class ConfigError(MedimgError):
    """Wrong command or configuration."""

    exit_code = 2


class InputError(MedimgError):
    """A file, folder or table that cannot be used."""

    exit_code = 3


class RunFailed(MedimgError):
    """A run that cannot go on: the loss diverged, or a process died."""

    exit_code = 3


class GateRefused(MedimgError):
    """The release gate refused to seal a model package."""

    exit_code = 4


class MissingDependency(MedimgError):
    """An optional package, decoder or device that is not there."""

    exit_code = 5


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint that names the valid choices, the nearest one first when one is near.

    >>> nearest("epchs", ["epochs", "batch"])
    "did you mean 'epochs'? (valid: batch, epochs)"
    """
    choices = sorted(valid)
    close = difflib.get_close_matches(name, choices, n=1)
    listed = f"valid: {', '.join(choices)}"
    return f"did you mean '{close[0]}'? ({listed})" if close else listed
