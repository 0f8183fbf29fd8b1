"""reconstruction_identity: everything that decides a reconstruction, to know it again by."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from partunroll.initial.initial_slabs import open_planes
from partunroll.network.exported_model import digest_of
from partunroll.versions import versions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from normalfit.factor_file import FactorFile
    from normalfit.specs import OperatorSpec

_PLANES = 32  # hashed at a time


def reconstruction_identity(
    spec: OperatorSpec,
    checkpoint: Path,
    factors: FactorFile | None,
    measurements: torch.Tensor,
    settings: Mapping[str, Any],
    initial: str | None,
) -> dict[str, Any]:
    """Return, as JSON values, what must be the same for a killed reconstruction to go on.

    Contents count, not paths: files may have been moved. How many processes share the work and
    how much memory they may take within one way of holding volumes does not.

    Parameters
    ----------
    spec, checkpoint, factors
        Operator, file of the network, and file of the factors.
    measurements
        As they were read.
    settings
        The options that decide the result.
    initial
        Digest of an initial estimate that was given.
    """
    header = None if factors is None else factors.header.model_dump_json()
    return {
        **settings,
        "operator": spec.fingerprint,
        "checkpoint": digest_of(checkpoint),
        "factors": None if header is None else hashlib.sha256(header.encode()).hexdigest(),
        "measurements": digest_of_tensor(measurements),
        "initial": initial,
        **{f"version of {name}": version for name, version in versions().items()},
    }


def digest_of_tensor(x: torch.Tensor) -> str:
    """Return the SHA-256 of a tensor's values."""
    return hashlib.sha256(x.detach().cpu().contiguous().resolve_conj().numpy().data).hexdigest()


def digest_of_planes(path: Path, shape: tuple[int, ...], *, is_complex: bool = False) -> str:
    """Return the SHA-256 of an array on disk, read some planes at a time; as `open_planes`.

    Raises
    ------
    InputError
        It cannot be read so, or has another shape.
    """
    values, digest = open_planes(path, shape, is_complex=is_complex), hashlib.sha256()
    for start in range(0, shape[0], _PLANES):
        digest.update(np.ascontiguousarray(values[start : start + _PLANES]).data)
    return digest.hexdigest()
