"""Evaluation of a factor file against its operator, on probes that no fit has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from normalfit.devices import resolve_device
from normalfit.errors import InputError
from normalfit.metrics import grid_error, patch_error
from normalfit.per_axis import per_axis_counts
from normalfit.random_patch import half_grid

if TYPE_CHECKING:
    from normalfit.estimate import Estimate
    from normalfit.factor_file import FactorFile
    from normalfit.specs import OperatorSpec


@dataclass(frozen=True)
class Evaluation:
    """How far factors are from the normal operator, on the grid and on patches.

    Parameters
    ----------
    grid_error, patch_error
        Relative Frobenius errors, with intervals.
    patch_shape
        Voxels of a patch, per axis.
    seed
        Seed of the probes and of the patches' places.
    """

    grid_error: Estimate
    patch_error: Estimate
    patch_shape: tuple[int, ...]
    seed: int

    def __str__(self) -> str:
        patch = " × ".join(map(str, self.patch_shape))
        return f"grid error   {self.grid_error}\npatch error  {self.patch_error} on {patch}"

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "grid_error": self.grid_error.as_json(),
            "patch_error": self.patch_error.as_json(),
            "patch_shape": list(self.patch_shape),
            "seed": self.seed,
        }


def evaluate_file(
    file: FactorFile,
    spec: OperatorSpec,
    *,
    probes: int = 32,
    seed: int = 0,
    patch: str | None = None,
    device: str = "auto",
) -> Evaluation:
    """Measure the errors of a factor file; costs `probes` applications of A*A and restrictions.

    Parameters
    ----------
    file
        The factor file.
    spec
        The operator that was fitted.
    probes
        Probes of each of the two errors.
    seed
        Their seed; no seed gives a probe that a fit, or its own report, has seen.
    patch
        Voxels of a patch: 'N', or one number per axis, 'Z,Y,X'. None takes half of the grid.
    device
        As for `resolve_device`.

    Raises
    ------
    MismatchError
        The factors were fitted to another operator.
    InputError
        The patch does not fit the grid, or there is no such device.
    FactorFileError
        The file is damaged.
    """
    file.check_operator(spec)
    place = resolve_device(device)
    patch_shape = _patch_shape(patch, file.shape)
    factors = file.load(place)
    operator = spec.build()
    shared: dict[str, Any] = {"probes": probes, "seed": seed, "device": place}
    shared["dtype"] = operator.probe_dtype
    return Evaluation(
        grid_error=grid_error(
            operator.normal, factors, file.shape, stream="fresh evaluation", **shared
        ),
        patch_error=patch_error(
            operator,
            factors,
            patch_shape,
            streams=("fresh patches", "fresh patch places"),
            **shared,
        ),
        patch_shape=patch_shape,
        seed=seed,
    )


def _patch_shape(patch: str | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    counts = per_axis_counts("patch", patch)
    if counts is None:
        return half_grid(shape)
    sides = (counts,) * len(shape) if isinstance(counts, int) else counts
    fits = len(sides) == len(shape)
    if not fits or not all(1 <= side <= n for side, n in zip(sides, shape, strict=True)):
        got = str(patch)[:40]
        msg = f"patch must be N, or one number per axis, within the grid {shape}, got {got!r}"
        raise InputError(msg)
    return sides
