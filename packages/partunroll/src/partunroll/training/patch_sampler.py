"""PatchSampler: what every training step is made of, decided by (seed, step) alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from normalfit.grid import Patch
from partunroll.errors import InputError
from partunroll.patches.patch_symmetry import PatchSymmetry, rotations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from normalfit.specs import OperatorSpec
    from partunroll.configuration.train_config import TrainConfig
    from partunroll.training.foreground import ForegroundMap, ForegroundVoxel

    FindForeground = Callable[[str, tuple[int, ...]], ForegroundMap]
    ReadReference = Callable[[str, Patch], np.ndarray]


@dataclass(frozen=True)
class Draw:
    """What was drawn for one step.

    Parameters
    ----------
    operator
        Name of the operator.
    samples
        Ids, one per patch of the batch, with replacement.
    places
        Patches, or foreground voxels to be in the middle of a patch.
    symmetry
        By which the whole batch is transformed, operators included.
    """

    operator: str
    samples: tuple[str, ...]
    places: tuple[Patch | ForegroundVoxel, ...]
    symmetry: PatchSymmetry


class PatchSampler:
    """Draws operator, samples, places and symmetry of each step.

    Everything random comes from a generator seeded with (seed, step), and nothing is read to
    draw: so workers, a resumed run and processes that share a batch change nothing. A part of a
    batch is prepared by handing the same part of its samples and places to `patches`.

    Parameters
    ----------
    config
        Resolved configuration.
    samples
        Ids of the training samples by operator.
    grid_shapes
        Voxels per axis of the volumes, by operator.
    find_foreground
        Returns the foreground map of a sample, given its id and the voxels per axis of its
        reference; called here for every sample, with ``sampling.foreground`` alone.

    Raises
    ------
    InputError
        The patch shape is not resolved, or `find_foreground` refuses a sample.
    """

    def __init__(
        self,
        config: TrainConfig,
        samples: Mapping[str, tuple[str, ...]],
        grid_shapes: Mapping[str, tuple[int, ...]],
        find_foreground: FindForeground,
    ) -> None:
        self._config = config
        self._samples = samples
        self._grid_shapes = grid_shapes
        self._rotations = rotations(len(self.patch_shape), rotated_axes(config))
        self._foreground = {
            sample: find_foreground(sample, grid_shapes[operator])
            for operator, ids in samples.items()
            for sample in (ids if config.sampling.foreground > 0 else ())
        }

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """Voxels per axis of a patch."""
        shape = self._config.patch_shape
        if isinstance(shape, int):
            msg = f"patch_shape must have one length per axis, got {shape}; resolve the config"
            raise InputError(msg)
        return shape

    def draw(self, step: int) -> Draw:
        """Draw what a step is made of; reads nothing."""
        rng = np.random.default_rng([self._config.seed, step])
        operator = list(self._samples)[rng.integers(len(self._samples))]
        known = self._samples[operator]
        samples = tuple(known[i] for i in rng.integers(len(known), size=self._config.batch))
        places = tuple(self._place(rng, operator, sample) for sample in samples)
        last = len(self.patch_shape) - 1
        mirrored = [last - i for i, drawn in enumerate(rng.integers(2, size=last + 1)) if drawn]
        symmetry = self._rotations[0]
        if len(self._rotations) > 1:
            symmetry = self._rotations[rng.integers(len(self._rotations))]
        if self._config.flips:
            symmetry = symmetry.mirrored(mirrored)
        return Draw(operator, samples, places, symmetry)

    def patches(
        self,
        samples: Iterable[str],
        places: Iterable[Patch | ForegroundVoxel],
        read: ReadReference,
    ) -> tuple[Patch, ...]:
        """Return the patches that were drawn; looks up foreground voxels, a block for each."""
        return tuple(
            place if isinstance(place, Patch) else self._around(sample, place, read)
            for sample, place in zip(samples, places, strict=True)
        )

    def _place(
        self, rng: np.random.Generator, operator: str, sample: str
    ) -> Patch | ForegroundVoxel:
        foreground = self._config.sampling.foreground
        if foreground > 0 and rng.random() < foreground:
            return self._foreground[sample].draw(rng)
        return draw_patch(rng, self._grid_shapes[operator], self.patch_shape)

    def _around(self, sample: str, voxel: ForegroundVoxel, read: ReadReference) -> Patch:
        found = self._foreground[sample]
        centre = found.locate(voxel, lambda block: read(sample, block))
        return patch_around(centre, found.shape, self.patch_shape)


def draw_patch(
    rng: np.random.Generator, grid_shape: tuple[int, ...], patch_shape: tuple[int, ...]
) -> Patch:
    """Return a patch drawn uniformly from all that lie inside the grid, the last included."""
    room = np.subtract(grid_shape, patch_shape)
    return Patch(tuple(rng.integers(0, room, endpoint=True)), patch_shape)


def patch_around(
    centre: tuple[int, ...], grid_shape: tuple[int, ...], patch_shape: tuple[int, ...]
) -> Patch:
    """Return the patch with a voxel in its middle, or as near to it as the grid's faces allow.

    The middle of p voxels is voxel ``p // 2``.
    """
    room = np.subtract(grid_shape, patch_shape)
    offset = np.clip(np.subtract(centre, np.floor_divide(patch_shape, 2)), 0, room)
    return Patch(tuple(offset.tolist()), patch_shape)


def rotated_axes(config: TrainConfig) -> tuple[int, ...]:
    """Return the axes of the patches that `rotations` turns into each other, of a resolved config.

    Raises
    ------
    InputError
        There is no such axis, their patch lengths differ, or the prior sees only some of them.
    """
    lengths = config.patch_shape
    if config.rotations is False or isinstance(lengths, int):
        return ()
    axes = tuple(range(len(lengths))) if config.rotations is True else config.rotations
    if len(set(axes)) < max(2, len(axes)) or not set(axes) <= set(range(len(lengths))):
        msg = (
            f"rotations must name at least two of the axes 0 … {len(lengths) - 1}, each once, got "
            f"{list(axes)}; leave them out"
        )
        raise InputError(msg)
    if len({lengths[axis] for axis in axes}) > 1:
        msg = (
            f"rotations must turn axes along which patches are equally long, got axes {list(axes)} "
            f"of patch_shape {lengths}; change patch_shape, or name axes of one length as in "
            "rotations: [1, 2]"
        )
        raise InputError(msg)
    prior = config.network.prior
    sliced = prior.slice_axis if prior.dim is not None and prior.dim < len(lengths) else None
    if sliced in axes:
        seen = [axis for axis in range(len(lengths)) if axis != sliced]
        msg = (
            f"rotations must turn axes that the prior sees, {seen}, got {list(axes)}; name "
            "those, or set network.prior.dim"
        )
        raise InputError(msg)
    return axes


def check_rotations(config: TrainConfig, operators: Mapping[str, OperatorSpec]) -> None:
    """Refuse rotations that the operators' voxels do not allow.

    A patch turned by 90° is the patch of a scan with the turned operator, which is valid only
    where voxels are as long along the axes that are exchanged.

    Raises
    ------
    InputError
        As for `rotated_axes`, or the voxels of an operator are not equally long along the axes.
    """
    axes = rotated_axes(config)
    for name, spec in operators.items() if axes else ():
        sides = spec.grid.voxel_mm
        turned = [1.0] if sides is None else [sides[axis] for axis in axes]
        if not math.isclose(min(turned), max(turned), rel_tol=1e-6):
            msg = (
                f"rotations must turn axes along which voxels are equally long, got axes "
                f"{list(axes)} of operator {name} with voxels of {sides} mm; name axes of one "
                "length as in rotations: [1, 2], or leave them out"
            )
            raise InputError(msg)
