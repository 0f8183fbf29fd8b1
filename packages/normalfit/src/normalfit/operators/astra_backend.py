"""ASTRA's 3-D projectors on CUDA tensors: the one place that imports astra.

ASTRA has no 3-D projector on the CPU, and its first 3-D call without a GPU ends Python with
SIGFPE: `require_gpu` stands before every one. Its forward projection chooses the main axis per
view and its backprojection is driven by voxels, so the two are not exact adjoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from normalfit.errors import BackendError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REMEDY = "use backend 'numba' or 'auto', or run where a CUDA GPU is visible"


def obstacle() -> str | None:
    """Return why ASTRA cannot project here, or None if it can."""
    if not torch.cuda.is_available():
        return "no CUDA GPU that torch can use"
    try:
        import astra
    except ImportError as error:
        return f"no package astra ({error}); install normalfit[astra]"
    return None if astra.use_cuda() else "no CUDA GPU that ASTRA can use"


def require_gpu() -> None:
    """Raise BackendError unless ASTRA can project here."""
    reason = obstacle()
    if reason is not None:
        msg = f"backend 'astra' must have the package astra and a CUDA GPU, got {reason}; {REMEDY}"
        raise BackendError(msg)


@dataclass(frozen=True, eq=False)
class AstraProjector:
    """A scan of a box, as ASTRA takes it.

    Parameters
    ----------
    kind
        'cone_vec' or 'parallel3d_vec'.
    vectors
        ``(views, 12)``, mm, of that kind.
    detector_shape
        ``(rows, columns)``.
    shape
        Voxels ``(z, y, x)`` of the box.
    faces_mm
        First and last face of the box per axis ``(z, y, x)``, shape ``(3, 2)``.
    """

    kind: str
    vectors: NDArray[np.float64]
    detector_shape: tuple[int, int]
    shape: tuple[int, ...]
    faces_mm: NDArray[np.float64]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, z, y, x)`` to ``(batch, views, rows, columns)``, in float32 inside.

        Raises
        ------
        BackendError
            There is no GPU, or an array is one voxel or column wide.
        """
        rows, columns = self.detector_shape
        volumes = _on_gpu(x.reshape(-1, *self.shape))
        sinograms = volumes.new_zeros(len(volumes), rows, len(self.vectors), columns)
        self._run("accumulate_FP", volumes, sinograms)
        return sinograms.movedim(1, 2).to(x)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, views, rows, columns)`` to ``(batch, z, y, x)``, as `forward`."""
        rows, columns = self.detector_shape
        views_first = y.reshape(-1, len(self.vectors), rows, columns)
        sinograms = _on_gpu(views_first.movedim(2, 1))
        volumes = sinograms.new_zeros(len(sinograms), *self.shape)
        self._run("accumulate_BP", volumes, sinograms)
        return volumes.to(y)

    def _run(self, name: str, volumes: torch.Tensor, sinograms: torch.Tensor) -> None:
        """Let ASTRA add to the volumes or to the sinograms, which it sees through DLPack."""
        require_gpu()
        if min(volumes.shape[-1], sinograms.shape[-1]) < 2:
            # ASTRA's DLPack reader takes a wrong pitch where the last axis has one entry.
            width = f"{volumes.shape[-1]} and {sinograms.shape[-1]}"
            msg = (
                f"x axis and columns must have at least 2 entries for ASTRA, got {width}; {REMEDY}"
            )
            raise BackendError(msg)
        import astra
        import astra.experimental

        device, (planes, rows, columns) = volumes.device, self.shape
        faces_mm = self.faces_mm[::-1].ravel().tolist()
        grid = astra.create_vol_geom(rows, columns, planes, *faces_mm)
        scan = astra.create_proj_geom(self.kind, *self.detector_shape, self.vectors)
        astra.set_gpu_index(device.index)
        torch.cuda.synchronize(device)  # ASTRA works on streams of its own
        for volume, sinogram in zip(volumes, sinograms, strict=True):
            ids: list[int] = []
            projector = astra.create_projector("cuda3d", scan, grid)
            try:
                ids.append(astra.data3d.link("-vol", grid, volume))
                ids.append(astra.data3d.link("-sino", scan, sinogram))
                getattr(astra.experimental, name)(projector, *ids)
            finally:
                astra.data3d.delete(ids)
                astra.projector3d.delete(projector)
        torch.cuda.synchronize(device)


def _on_gpu(x: torch.Tensor) -> torch.Tensor:
    require_gpu()
    device = x.device if x.device.type == "cuda" else torch.device("cuda")
    return x.to(device, torch.float32).contiguous()
