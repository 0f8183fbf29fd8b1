"""Commands that make what an MRI operator is made of: coil-maps, sampling-mask, compress-coils."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from normalfit.command_line import print_result
from normalfit.written_beside import check_outputs
from partunroll.cli.options import OutputOption

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
    calibration: Annotated[
        int, typer.Option("--calibration", min=2, help="Side of the fully sampled centre.")
    ] = 24,
    method: Annotated[
        Literal["calibration", "espirit"],
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


def baseline(
    name: Annotated[
        Literal["zero-filled", "cg", "tv"],
        typer.Argument(metavar="zero-filled|cg|tv", help="cg is CG-SENSE for MRI."),
    ],
    operator: Annotated[
        Path,
        typer.Option("--operator", metavar="YAML", help="The operator; see 'normalfit template'."),
    ],
    measurements: Annotated[
        Path, typer.Option("--measurements", metavar="FILE", help="npy, npz, h5, cfl, zarr, ...")
    ],
    output: OutputOption,
    weight: Annotated[
        float | None,
        typer.Option("--weight", min=0, help="Of tv, or the ridge of cg; of the norm of A*A."),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Of cg or tv.")
    ] = None,
    factors: Annotated[
        Path | None,
        typer.Option(
            "--factors", metavar="FACTORS", help="Symmetric factors that precondition cg."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")
    ] = "auto",
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the figures as JSON."),
    ] = None,
) -> None:
    """Reconstruct without training, a new .npy or .zarr."""
    from normalfit.specs import load_spec
    from partunroll.baselines.baseline_to_file import baseline_to_file
    from partunroll.cli.options import command_line

    check_outputs(output, json)
    summary = baseline_to_file(
        name,
        load_spec(operator),
        measurements,
        output,
        weight=weight,
        iterations=iterations,
        factors=factors,
        device=device,
        command=command_line(),
    )
    print_result(str(summary), summary.as_json(), json)
