"""The command baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from normalfit.command_line import print_result
from normalfit.written_beside import check_outputs
from partunroll.cli.options import (
    DeviceOption,
    JsonOption,
    MeasurementsOption,
    OperatorOption,
    OutputOption,
)

# the kinds of partunroll.baselines.method, which is slow to import; a test compares the two
Name = Literal["zero-filled", "cg", "tv", "fdk", "pnp-pgd", "dpir", "inr", "function"]


def baseline(
    name: Annotated[
        Name,
        typer.Argument(
            metavar="NAME", help=f"{', '.join(get_args(Name))}; cg is CG-SENSE for MRI."
        ),
    ],
    operator: OperatorOption,
    measurements: MeasurementsOption,
    output: OutputOption,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="YAML", help="The method's options.")
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option("--weight", min=0, help="Of tv, or the ridge of cg; of the norm of A*A."),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Of whatever iterates.")
    ] = None,
    factors: Annotated[
        Path | None,
        typer.Option(
            "--factors", metavar="FACTORS", help="Symmetric factors that precondition cg."
        ),
    ] = None,
    denoiser: Annotated[
        Path | None,
        typer.Option(
            "--denoiser",
            metavar="PATH",
            help="Of pnp-pgd and dpir: a trained denoiser, or weights of DRUNet or RAM.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE...", help="Any other option of the method."),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            metavar="STORE",
            help="Choose options by the mean PSNR of its validation samples.",
        ),
    ] = None,
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="KEY=[VALUES]...",
            help="Values to choose from with --validation; default: the usual ones.",
        ),
    ] = None,
    intensity_per_mm: Annotated[
        str | None,
        typer.Option(
            "--intensity-per-mm",
            metavar="NUMBER|auto",
            help="What a value of one stands for to denoisers, validation samples and weights; "
            "default: measurements are in that unit.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Reconstruct without training for the operator, a new .npy or .zarr."""
    from normalfit.progress_bar import progress_bars
    from normalfit.specs import load_spec
    from partunroll.baselines.baseline_to_file import baseline_to_file
    from partunroll.baselines.method_options import parse_candidates, parse_options
    from partunroll.cli.options import command_line
    from partunroll.measurements.scan import parse_intensity

    check_outputs(output, json)
    with progress_bars() as bars:
        summary = baseline_to_file(
            name,
            load_spec(operator),
            measurements,
            output,
            weight=weight,
            iterations=iterations,
            factors=factors,
            denoiser=denoiser,
            options=parse_options(option or []),
            config=config,
            validation=validation,
            candidates=parse_candidates(candidates or []),
            intensity_per_mm=parse_intensity(intensity_per_mm),
            device=device,
            command=command_line(),
            progress=bars,
        )
    print_result(str(summary), summary.as_json(), json)
