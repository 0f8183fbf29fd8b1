"""MemoryPlan: whether volumes fit into memory, and if not, how many planes are there at a time."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from normalfit.fft import fast_length
from normalfit.grid import Patch
from normalfit.operators.projection_operator import ProjectionOperator
from normalfit.slab_memory import least_bytes
from partunroll.errors import InputError
from partunroll.memory_size import resident_bytes, shown
from partunroll.reconstruction.work_folder import PLAN
from partunroll.store.data_store_header import VOLUME_CHUNK

if TYPE_CHECKING:
    from normalfit.factor_file import FactorFile
    from normalfit.linear_operator import LinearOperator
    from partunroll.configuration.train_config import NetworkConfig
    from partunroll.network.networks import Network
    from partunroll.patches.windows import BlendWindows
    from partunroll.reconstruction.volume_problem import Normal
    from partunroll.reconstruction.work_folder import WorkFolder

# our choices, from the code that they count the arrays of
_VOLUMES = 9  # x0, x, x_ref, gradient and its reference, direction, step, blend, one copy
_SOLVED_VOLUMES = 4  # more, of the conjugate gradients of a proximal step
_WHOLE_VOLUMES = 4  # in a step with an operator that is applied to the whole
_PLANE_COPIES = 8  # of a slab in a data step, the projector's among them
_MEASUREMENTS = 3  # y, its residual, what a projector makes of them
_STRIPS = 2  # of patches that are blended, and what is read and copied of one
_SHARE = 0.8  # of what is left that slabs get
_FEATURE_MAPS = 10  # of the first width, alive at once in a DRUNet


@dataclass(frozen=True)
class MemoryPlan:
    """What a reconstruction holds in memory.

    Parameters
    ----------
    on_disk
        Whether the volumes stay on disk.
    planes
        Planes per slab of the operator.
    slab_bytes
        What a slab of the factors may take.
    """

    on_disk: bool
    planes: int
    slab_bytes: int


def plan_memory(
    max_memory: int | None,
    operator: LinearOperator,
    windows: BlendWindows,
    network: NetworkConfig,
    factors: FactorFile | None,
    *,
    batch: int,
    normal: Normal,
    whole_normals: bool = False,
) -> MemoryPlan:
    """Return how a reconstruction stays within the memory that it may take.

    Parameters
    ----------
    max_memory
        Bytes that the process may hold, with all that it holds now; None: volumes are in memory.
    operator, windows, network, factors
        What is reconstructed, by what; factors in a file.
    batch, normal
        As for `reconstruct`.
    whole_normals
        Whether patches are embedded into the volume to apply ``A*A``.

    Raises
    ------
    InputError
        It is too little even for volumes on disk; the message says how much is not.
    """
    shape = operator.domain.shape
    if max_memory is None:
        return MemoryPlan(on_disk=False, planes=shape[0], slab_bytes=0)
    itemsize = 8 if operator.is_complex else 4
    volume = itemsize * math.prod(shape)
    plane = volume // shape[0]
    patch = windows.patches[0].shape
    fixed = (
        resident_bytes()
        + _MEASUREMENTS * itemsize * math.prod(operator.range.shape)
        + 4 * batch * math.prod(patch) * network.prior.widths[0] * _FEATURE_MAPS
    )
    volumes = _VOLUMES + (_SOLVED_VOLUMES if getattr(network, "cg_iterations", 0) else 0)
    if fixed + volumes * volume + _factor_bytes(factors, normal) <= max_memory:
        return MemoryPlan(on_disk=False, planes=shape[0], slab_bytes=0)
    by_slabs = isinstance(operator, ProjectionOperator) and not whole_normals
    whole = 0 if by_slabs else _WHOLE_VOLUMES * volume
    fixed += whole + _STRIPS * plane // shape[1] * math.prod(patch[:2]) + 2 * VOLUME_CHUNK * plane
    for_factors = 0
    if factors is not None and normal == "factors":
        kernel = factors.load_kernel()
        fixed += 2 * kernel.values.nbytes
        for_factors = least_bytes(kernel, factors.terms)
    least = fixed + int(max(_PLANE_COPIES * plane, for_factors) / _SHARE) + 1
    if least > max_memory:
        msg = (
            f"max_memory must be at least {shown(least)} for {operator.domain.shape} with patches "
            f"of {patch}, batches of {batch} and this network, got {shown(max_memory)}; allow "
            "more, or take smaller patches and batches"
        )
        raise InputError(msg)
    for_slabs = int(_SHARE * (max_memory - fixed))
    planes = min(shape[0], for_slabs // (_PLANE_COPIES * plane))
    if planes > VOLUME_CHUNK:
        planes -= planes % VOLUME_CHUNK
    return MemoryPlan(on_disk=True, planes=planes, slab_bytes=for_slabs)


def begun_plan(plan: MemoryPlan, work: WorkFolder, max_memory: int) -> MemoryPlan:
    """Return the plan that a killed process went by: with other slabs rounding would differ.

    Not where it was allowed more memory than this one.
    """
    if work.finished(PLAN) is None:
        work.finish(PLAN, allowed=max_memory, **asdict(plan))
    begun = dict(work.finished(PLAN) or {})
    return plan if begun.pop("allowed") > max_memory else MemoryPlan(**begun)


@torch.no_grad()
def load_code(
    operator: LinearOperator, network: Network, windows: BlendWindows, device: torch.device
) -> None:
    """Run what is loaded or compiled at its first use, on a voxel: it is part of a process's size.

    Measured: 280 MiB of compiled projectors and of libraries.
    """
    shape = tuple(min(p, n) for p, n in zip(windows.patches[0].shape, (8, 8, 8), strict=False))
    point = Patch((0,) * len(operator.domain.shape), (1,) * len(operator.domain.shape))
    dtype = torch.complex64 if operator.is_complex else torch.float32
    network.prior(torch.zeros(1, *shape, dtype=dtype, device=device))
    if isinstance(operator, ProjectionOperator):
        operator.restricted(point).normal(torch.zeros(point.shape, dtype=dtype, device=device))


def _factor_bytes(factors: FactorFile | None, normal: Normal) -> int:
    """Return what factors take that are read as a whole, with their spectrum where it is used."""
    if factors is None:
        return 0
    entries = factors.header.arrays
    itemsize = 8 if factors.is_complex else 4
    values = sum(math.prod(entries[name].shape) for name in ("kernel", "u", "v") if name in entries)
    stored = 2 * itemsize * values
    if normal == "exact":
        return stored
    lags = factors.header.lags
    padded = [
        n if end == "periodic" else fast_length(n + length // 2)
        for n, length, end in zip(factors.shape, lags, factors.boundary, strict=True)
    ]
    return stored + (factors.terms + 2) * itemsize * math.prod(padded)
