"""Iteration: what is logged of one iteration of a reconstruction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Iteration:
    """One iteration of stage 1, or of stage 2 on all patches.

    Parameters
    ----------
    step_size
        η, in units in which the spectral norm of ``A*A`` is 1.
    gradient_norm
        Norm of the gradient that was stepped along, in those units; of stage 2 over all patches,
        so that voxels in several count several times. 0 where the network asks for none.
    residual_norm
        ``‖y − A x‖ / ‖y‖`` before the step; None where factors stood in for ``A*A``, and in
        stage 2, where every patch has an iterate of its own.
    """

    step_size: float
    gradient_norm: float
    residual_norm: float | None
