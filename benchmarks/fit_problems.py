"""Problem: an operator that fits are compared on, and how long they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from normalfit.probes import default_batch


@dataclass(frozen=True)
class Problem:
    """An operator, how long Adam runs, and with which learning rates."""

    name: str
    document: dict[str, Any]
    steps: int
    learning_rates: tuple[float, ...]  # over two decades, the best one inside

    @property
    def batch(self) -> int:
        """Probes to apply A*A to at once: many of a plane, whose rays are computed once."""
        return default_batch(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""
        return tuple(self.document["volume_shape"])


def problems(square: int, cube: int, steps: int) -> list[Problem]:
    """Return the three operators, of `square`² and of `cube`³ voxels."""
    planes, volumes = (3e-4, 3e-3, 3e-2), (1e-3, 1e-2, 1e-1)
    fan = _orbit((1, square, square), (1, 2 * square), 60)
    cone = _orbit((cube,) * 3, (3 * cube // 2,) * 2, 30)
    return [
        Problem(f"fan beam {square}²", fan, steps, planes),
        Problem(f"cone beam {cube}³", cone, steps, volumes),
        Problem(
            f"parallel beam {square}²",
            {
                "kind": "parallel_beam", "volume_shape": [square] * 2, "voxel_mm": 1.0,
                "num_columns": 3 * square // 2, "pixel_mm": 1.0, "num_views": 40,
            },
            steps,
            planes,
        ),
    ]  # fmt: skip


def _orbit(shape: tuple[int, ...], detector: tuple[int, int], views: int) -> dict[str, Any]:
    n = shape[-1]
    return {
        "kind": "cone_beam", "volume_shape": list(shape), "voxel_mm": 1.0,
        "detector_shape": list(detector), "pixel_mm": 1.5, "source_origin_mm": 4.0 * n,
        "origin_detector_mm": 2.0 * n, "num_views": views,
    }  # fmt: skip
