"""The exceptions of normalfit: one root, and one class for each thing a caller can mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class NormalfitError(Exception):
    """Root of every error that normalfit raises on purpose."""


class InputError(NormalfitError, ValueError):
    """A value that a caller gave does not meet its requirement."""


class BackendError(NormalfitError, RuntimeError):
    """A device or an optional library that was asked for is not there."""


class FactorFileError(NormalfitError):
    """A factor file cannot be read; the subclass says why.

    Parameters
    ----------
    message
        One line.
    problems
        Every problem that was found, as pairs of a place in the file and a text.
    """

    def __init__(self, message: str, problems: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class NotAFactorFileError(FactorFileError):
    """There is nothing at the path, or something else."""


class UnsupportedVersionError(FactorFileError):
    """A factor file of a version that this normalfit does not read."""


class CorruptFileError(FactorFileError):
    """A factor file is damaged, incomplete, or contradicts itself."""


class LimitError(FactorFileError):
    """A factor file says that it holds more than a reader is willing to allocate."""


class MismatchError(NormalfitError):
    """Two things that must describe the same operator do not."""


def told(error: BaseException) -> str:
    """Return the type and the text of an exception in one line, to be said in a message."""
    return " ".join(f"{type(error).__name__}: {error}".split())
