"""Limits: how much a reader is willing to take from a factor file it knows nothing about."""

from __future__ import annotations

from dataclasses import dataclass

from normalfit.errors import LimitError


@dataclass(frozen=True)
class Limits:
    """What a reader refuses before it allocates anything; a shape in a file costs nothing.

    Parameters
    ----------
    metadata_bytes
        Of one ``zarr.json``.
    manifest_bytes
        Of the manifest, about 100 a chunk.
    array_bytes
        Of one array, uncompressed.
    num_chunks
        Of one array.
    """

    metadata_bytes: int = 2**24
    manifest_bytes: int = 2**28
    array_bytes: int = 2**42
    num_chunks: int = 2**22

    def check(self, name: str, value: int, unit: str, limit: int) -> None:
        """Raise LimitError where `value` is above `limit`."""
        if value > limit:
            msg = (
                f"{name} must have at most {limit} {unit}, got {value}; "
                "raise this reader's limits if the file is to be trusted"
            )
            raise LimitError(msg)


DEFAULT_LIMITS = Limits()
