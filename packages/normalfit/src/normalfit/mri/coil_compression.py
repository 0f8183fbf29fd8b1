"""compress_coils: fewer virtual coils, by the singular value decomposition of k-space."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from normalfit.errors import InputError


@dataclass(frozen=True, eq=False)
class CoilCompression:
    """The unitary combinations of coils that keep most of the energy.

    Parameters
    ----------
    matrix
        ``(virtual, coils)``, orthonormal rows, complex.
    kept_energy
        Share of the energy that the virtual coils hold.
    """

    matrix: torch.Tensor
    kept_energy: float

    def __call__(self, coils: torch.Tensor) -> torch.Tensor:
        """Apply it to k-space, images or maps ``(coils, *shape)``; returns ``(virtual, *shape)``.

        Noise of the same variance in all coils stays so, as the rows are orthonormal.
        """
        return torch.tensordot(self.matrix.to(coils), coils, 1)


def compress_coils(kspace: torch.Tensor, num_coils: int) -> CoilCompression:
    """Return the compression of measured k-space (or of maps) to `num_coils` virtual coils.

    Parameters
    ----------
    kspace
        Complex ``(coils, *shape)``; zeros where nothing was measured don't count.
    num_coils
        Virtual coils, at most as many as there are.

    Raises
    ------
    InputError
        `num_coils` is out of range, or all data are zero.
    """
    if not 1 <= num_coils <= len(kspace):
        msg = f"num_coils must be between 1 and {len(kspace)}, got {num_coils}"
        raise InputError(msg)
    flat = kspace.flatten(1).to(torch.complex128)
    values, vectors = torch.linalg.eigh(flat @ flat.mH)
    total = float(values.sum())
    if not total > 0:
        msg = "kspace must hold a signal, got zeros"
        raise InputError(msg)
    order = values.argsort(descending=True)[:num_coils]
    matrix = vectors[:, order].mH.resolve_conj()
    return CoilCompression(matrix.to(kspace.dtype), float(values[order].sum()) / total)
