"""reconstruct_to_file: a reconstruction out of files, checked before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from normalfit.written_beside import check_output
from partunroll.configuration.network_config import DenoisingConfig
from partunroll.errors import InputError
from partunroll.network.exported_model import load_trained
from partunroll.patches.patch_normal import patch_normal_kind
from partunroll.ranks import joined_ranks, present_ranks
from partunroll.reconstruction.reconstruction_job import ReconstructionJob
from partunroll.reconstruction.reconstruction_match import match_reconstruction
from partunroll.reconstruction.two_stages import check_factors_are_used, checked_refresh
from partunroll.reconstruction.work_folder import work_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.progress import Progress

    from normalfit.specs import OperatorSpec
    from partunroll.initial.initial_estimate import Method
    from partunroll.measurements.scan import Intensity
    from partunroll.patches.blended_patches import Overlap
    from partunroll.patches.patch_normal import PatchNormalKind
    from partunroll.patches.windows import BlendKind
    from partunroll.reconstruction.reconstruction_file import ReconstructionFile
    from partunroll.reconstruction.volume_problem import Normal


def reconstruct_to_file(
    spec: OperatorSpec,
    checkpoint: Path,
    factors: Path | None,
    measurements: Path,
    output: Path,
    *,
    initial: Path | None = None,
    window: str | None = None,
    method: Method | None = None,
    intensity_per_mm: Intensity = None,
    stages: Literal[1, 2] = 2,
    normal: Normal = "exact",
    patch_normal: PatchNormalKind | Literal["exact"] | None = None,
    refresh: int | None = None,
    patch_shape: int | tuple[int, ...] | None = None,
    overlap: Overlap = None,
    stride: int | tuple[int, ...] | None = None,
    blend: BlendKind = "hann",
    batch: int = 2,
    max_memory: int | None = None,
    backend: str | None = None,
    device: str = "auto",
    command: str | None = None,
    operator_file: Path | None = None,
    allow_mismatch: bool = False,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> ReconstructionFile:
    """Reconstruct measurements with a trained network and write a reconstruction file.

    What is finished is kept in a work folder beside the output (`work_folder`): a process that
    was killed and is started again in the same way goes on there, and gives the same volumes.
    Under torchrun several processes share the patches.

    Parameters
    ----------
    spec
        The operator that measured; the network must have been trained with it.
    checkpoint
        A checkpoint, or the folder of an exported model.
    factors, measurements
        Files; the factors may be None where only the exact ``A*A`` is used.
    output
        A new reconstruction file. Its volumes are in the unit of the measurements.
    initial, intensity_per_mm, backend
        As for `load_scan`.
    window, method
        As for `load_scan`; None: as in training.
    stages, normal, refresh, overlap, stride, blend, batch, progress
        As for `reconstruct`.
    patch_normal, patch_shape
        As for `reconstruct`; None: as in training, patches cut where the volume is thinner.
    max_memory
        Bytes that this process may hold: volumes stay on disk where they would take more.
    device
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    command
        The command line, for the record.
    operator_file
        Where `spec` was read, for messages.
    allow_mismatch
        As for `match_reconstruction`; what was allowed stands in the notes.
    say
        Told what was allowed, before anything is computed.

    Raises
    ------
    InputError
        A file or an option does not meet its requirement, or the output exists.
    MismatchError
        Operator, factors, checkpoint and measurements do not belong together, or what was begun
        in the work folder is another reconstruction.
    CheckpointError
        The checkpoint cannot be read.
    """
    work_at = work_path(output)
    if not work_at.is_dir():  # what was begun may be finished
        check_output(output)
    if initial is not None and (window or method):
        msg = f"window and method must be left out with an initial estimate, got {window}, {method}"
        raise InputError(msg)
    where = present_ranks().device(device)
    trained_network = load_trained(checkpoint)
    if isinstance(trained_network.network, DenoisingConfig):
        msg = (
            f"checkpoint must be of a network that reconstructs, got {checkpoint} of a denoiser; "
            "use it with `partunroll baseline pnp-pgd`"
        )
        raise InputError(msg)
    matched = match_reconstruction(
        spec,
        trained_network,
        factors,
        operator_file=operator_file,
        checkpoint_file=checkpoint,
        allow_mismatch=allow_mismatch,
    )
    trained = matched.trained
    if say is not None and present_ranks().is_first:
        for note in matched.notes:
            say(note)
    settings: dict[str, Any] = {
        "patch_shape": (
            _fitting(trained_network.patch_shape, spec.grid.shape)
            if patch_shape is None
            else patch_shape
        ),
        "overlap": overlap,
        "stride": list(stride) if isinstance(stride, tuple) else stride,
        "blend": blend,
        "stages": stages,
        "normal": normal,
        "patch_normal": patch_normal_kind(patch_normal or trained_network.normal),
        "refresh": checked_refresh(normal, refresh),
        "batch": batch,
    }
    check_factors_are_used(
        getattr(trained_network.network, "cg_iterations", 0),
        normal,
        settings["refresh"],
        settings["patch_normal"],
    )
    method = method or ("least-squares" if trained.initial_method == "least-squares" else "fdk")
    if window and method == "least-squares":
        msg = f"window must be left out with least squares, as in training, got {window}"
        raise InputError(msg)
    job = ReconstructionJob(
        spec=spec,
        checkpoint_path=checkpoint,
        checkpoint=trained_network,
        matched=matched,
        measurements=measurements,
        output=output,
        initial=initial,
        window=window or trained.initial_window or "hann",
        method=method,
        intensity_per_mm=intensity_per_mm,
        settings=settings,
        max_memory=max_memory,
        backend=backend,
        device=where,
        command=command,
        progress=progress,
    )
    return job.run(joined_ranks())


def _fitting(patch_shape: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(patch_shape) != len(shape):
        return patch_shape  # refused where it is used
    return tuple(min(p, n) for p, n in zip(patch_shape, shape, strict=True))
