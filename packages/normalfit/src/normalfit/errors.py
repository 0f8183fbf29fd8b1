"""The exceptions of normalfit: one root, and one class for each thing a caller can mend."""


class NormalfitError(Exception):
    """Root of every error that normalfit raises on purpose."""


class InputError(NormalfitError, ValueError):
    """A value that a caller gave does not meet its requirement."""


class BackendError(NormalfitError, RuntimeError):
    """A device or an optional library that was asked for is not there."""


class FactorFileError(NormalfitError):
    """A factor file cannot be read: it is none, is damaged, or has an unknown version."""


class MismatchError(NormalfitError):
    """Two things that must describe the same operator do not."""


def told(error: BaseException) -> str:
    """Return the type and the text of an exception in one line, to be said in a message."""
    return " ".join(f"{type(error).__name__}: {error}".split())
