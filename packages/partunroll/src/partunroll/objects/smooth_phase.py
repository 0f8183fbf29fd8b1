"""smooth_phase: the phase that a magnitude volume is given to simulate MRI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_WAVES = 2  # half waves per axis at most: field inhomogeneity and coil phase turn slowly
_REACH = np.pi / 2  # standard deviation over the grid; our choice


def smooth_phase(shape: Sequence[int], seed: int | tuple[int, ...]) -> np.ndarray:
    """Return a smooth random phase in radians, float32 ``(*shape)``.

    It is a function of the place alone: a finer grid of the same volume gets the same phase.

    Parameters
    ----------
    shape
        Voxels of the grid.
    seed
        Of the phase.
    """
    draw = np.random.default_rng(seed)
    phase = draw.standard_normal([_WAVES + 1] * len(shape))
    phase.flat[0] = 0.0  # a constant says nothing
    scale = _REACH / max(float(np.sqrt(np.sum(phase**2) / 2 ** len(shape))), 1e-9)
    for n in shape:
        place = (np.arange(n) + 0.5) / n
        waves = np.cos(np.pi * np.arange(_WAVES + 1)[:, None] * place)
        phase = np.tensordot(phase, waves, axes=([0], [0]))
    return (scale * phase).astype(np.float32)
