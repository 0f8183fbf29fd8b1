"""Reconstruction: a reconstructed volume, in memory or on disk, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from partunroll.network.iteration import Iteration

Volume_co = TypeVar("Volume_co", covariant=True)  # torch.Tensor, or StoredVolume


@dataclass(frozen=True, eq=False)
class Reconstruction(Generic[Volume_co]):
    """A reconstructed volume and how it came about.

    Volumes are tensors, or those of a work folder on disk.

    Parameters
    ----------
    final
        Result of the last stage.
    stage1
        ``x̂``, the result of stage 1; `final` itself where that was the last.
    initial_estimate
        ``x0``.
    history
        The iterations of stage 1.
    patch_history
        The iterations of stage 2, on all patches; empty without it.
    residual_norm
        ``‖y − A x̂‖ / ‖y‖`` after stage 1; None without stage 2, which needs the residual.
    final_residual_norm
        ``‖y − A x‖ / ‖y‖`` of `final`; None without stage 2, for the same reason.
    patch_shape, num_patches
        The patches that the volume was worked on in.
    seconds
        Time of each stage in this process; a killed one before it is not counted.
    """

    final: Volume_co
    stage1: Volume_co
    initial_estimate: Volume_co
    history: tuple[Iteration, ...]
    patch_history: tuple[Iteration, ...]
    residual_norm: float | None
    final_residual_norm: float | None
    patch_shape: tuple[int, ...]
    num_patches: int
    seconds: tuple[float, ...]
