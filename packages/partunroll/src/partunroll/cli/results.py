"""The commands reconstruct and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from normalfit.command_line import print_result, print_warning
from normalfit.written_beside import check_outputs
from partunroll.cli.options import (
    BackendOption,
    DeviceOption,
    JsonOption,
    MeasurementsOption,
    MismatchOption,
    OperatorOption,
    OutputOption,
    UsedMethodOption,
    UsedWindowOption,
    command_line,
)

Normal = Literal["exact", "factors"]
# exact: old, for restricted
PatchNormal = Literal["factors", "corrected", "restricted", "full", "exact"]
BlendKind = Literal["hann", "gaussian", "crop"]


def reconstruct(
    checkpoint: Annotated[
        Path,
        typer.Option(
            "--checkpoint", metavar="PT|MODEL", help="best.pt of a run, or an exported model."
        ),
    ],
    operator: OperatorOption,
    measurements: MeasurementsOption,
    output: OutputOption,
    factors: Annotated[
        Path | None,
        typer.Option(
            "--factors", metavar="FACTORS", help="Needed by all but exact normal operators."
        ),
    ] = None,
    stages: Annotated[
        int,
        typer.Option("--stages", min=1, max=2, help="1: the whole volume; 2: then patch by patch."),
    ] = 2,
    normal: Annotated[
        Normal,
        typer.Option("--normal", help="A*A in stage 1, between exact gradients and in solves."),
    ] = "exact",
    patch_normal: Annotated[
        PatchNormal | None,
        typer.Option("--patch-normal", help="A*A on patches in stage 2; default: as in training."),
    ] = None,
    refresh: Annotated[
        int | None,
        typer.Option(
            "--refresh",
            metavar="M",
            help="With --normal factors: an exact gradient every M iterations; default 2.",
        ),
    ] = None,
    patch: Annotated[
        list[int] | None,
        typer.Option("--patch", metavar="N|Z Y X", help="Voxels; default: as in training."),
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option(
            "--overlap", metavar="N|half", help="Voxels; default: a quarter of the patch."
        ),
    ] = None,
    stride: Annotated[
        list[int] | None,
        typer.Option(
            "--stride", metavar="N|Z Y X", help="Voxels between patches, instead of an overlap."
        ),
    ] = None,
    blend: Annotated[
        BlendKind,
        typer.Option("--blend", help="Windows that overlapping patches are added with."),
    ] = "hann",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Patches at a time.")] = 2,
    max_memory: Annotated[
        str | None,
        typer.Option(
            "--max-memory",
            metavar="8G",
            help="What the process may hold; larger volumes stay on disk, beside the output.",
        ),
    ] = None,
    initial: Annotated[
        Path | None,
        typer.Option("--initial", metavar="FILE", help="Initial estimate; default: made here."),
    ] = None,
    window: UsedWindowOption = None,
    method: UsedMethodOption = None,
    intensity_per_mm: Annotated[
        str | None,
        typer.Option(
            "--intensity-per-mm",
            metavar="VALUE|auto",
            help="What one unit of training stands for, for measurements that are not out of a "
            "data store; auto: the 99.9th percentile of the initial estimate.",
        ),
    ] = None,
    backend: BackendOption = None,
    device: DeviceOption = "auto",
    allow_mismatch: MismatchOption = False,
    json: JsonOption = None,
) -> None:
    """Reconstruct measurements with a trained network."""
    from normalfit.progress_bar import progress_bars
    from normalfit.specs import load_spec
    from partunroll.measurements.scan import parse_intensity
    from partunroll.memory_size import parse_memory
    from partunroll.patches.blended_patches import parse_overlap
    from partunroll.ranks import present_ranks
    from partunroll.reconstruction.reconstruct_to_file import reconstruct_to_file
    from partunroll.reconstruction.work_folder import work_path

    begun = work_path(output).is_dir()  # then its output may be there: it is finished, not refused
    check_outputs(output, json, replaced=output if begun else None)
    with progress_bars() as bars:
        file = reconstruct_to_file(
            load_spec(operator),
            checkpoint,
            factors,
            measurements,
            output,
            initial=initial,
            window=window,
            method=method,
            intensity_per_mm=parse_intensity(intensity_per_mm),
            stages=1 if stages == 1 else 2,
            normal=normal,
            patch_normal=patch_normal,
            refresh=refresh,
            patch_shape=tuple(patch) if patch else None,
            overlap=parse_overlap(overlap),
            stride=tuple(stride) if stride else None,
            blend=blend,
            batch=batch,
            max_memory=parse_memory(max_memory),
            backend=backend,
            device=device,
            command=command_line(),
            operator_file=operator,
            allow_mismatch=allow_mismatch,
            say=print_warning,
            progress=bars if present_ranks().is_first else None,
        )
    if present_ranks().is_first:
        print_result(str(file), file.as_json(), json)


def evaluate(
    reconstruction: Annotated[
        Path,
        typer.Option(
            "--reconstruction", metavar="FILE", help="Of 'partunroll reconstruct', or any volume."
        ),
    ],
    reference: Annotated[
        Path,
        typer.Option(
            "--reference", metavar="FILE", help="A volume, or STORE/samples/ID/reference."
        ),
    ],
    data_range: Annotated[
        float | None,
        typer.Option("--data-range", help="Default: max − min of the reference."),
    ] = None,
    crop: Annotated[int, typer.Option("--crop", help="Voxels to leave out at every face.")] = 0,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", metavar="PNG", help="Also draw slices, to a new picture."),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Compare a reconstruction with a reference: PSNR and SSIM, and how they are defined."""
    from partunroll.reconstruction.evaluation import evaluate as evaluate_files

    check_outputs(figure, json)
    evaluation = evaluate_files(
        reconstruction, reference, data_range=data_range, crop=crop, figure=figure
    )
    print_result(str(evaluation), evaluation.as_json(), json)
