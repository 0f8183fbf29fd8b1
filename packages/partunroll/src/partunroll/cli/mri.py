"""Commands that make what an MRI operator is made of: coil-maps, sampling-mask, compress-coils."""

from __future__ import annotations

from typing import Annotated

import typer

from normalfit.command_line import print_result
from partunroll.cli.options import CalibrationOption, CoilMapMethod, OutputOption

KspaceArgument = Annotated[
    str,
    typer.Argument(metavar="KSPACE", help="Centred k-space (coils, [z,] y, x): npz, h5, cfl, ..."),
]
HybridOption = Annotated[
    int | None,
    typer.Option("--hybrid-axis", min=0, help="Spatial axis that is in image space already."),
]


def coil_maps(
    kspace: KspaceArgument,
    output: OutputOption,
    calibration: CalibrationOption = 24,
    method: Annotated[
        CoilMapMethod,
        typer.Option("--method", help="Images of the centre, or ESPIRiT (sigpy)."),
    ] = "calibration",
    hybrid_axis: HybridOption = None,
) -> None:
    """Estimate coil maps from k-space, a new .npy for 'coil_maps_file'."""
    from partunroll.measurements.coils_to_file import coil_maps_to_file

    summary = coil_maps_to_file(
        kspace, output, calibration=calibration, method=method, hybrid_axis=hybrid_axis
    )
    print_result(summary)


def sampling_mask(
    kspace: KspaceArgument, output: OutputOption, hybrid_axis: HybridOption = None
) -> None:
    """Write which points of undersampled k-space were measured, a new .npy for 'mask_file'."""
    from partunroll.measurements.coils_to_file import sampling_mask_to_file

    print_result(sampling_mask_to_file(kspace, output, hybrid_axis=hybrid_axis))


def compress_coils(
    kspace: KspaceArgument,
    output: OutputOption,
    coils: Annotated[int, typer.Option("--coils", min=1, help="Virtual coils to keep.")],
) -> None:
    """Combine coils to fewer virtual ones (SVD), a new .npy of k-space."""
    from partunroll.measurements.coils_to_file import compressed_to_file

    print_result(compressed_to_file(kspace, output, coils=coils))
