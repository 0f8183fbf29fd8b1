"""Commands that make data: simulate, line-integrals, initial."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from normalfit.command_line import print_result
from normalfit.written_beside import check_outputs
from partunroll.cli.options import (
    BackendOption,
    DeviceOption,
    JsonOption,
    MeasurementsOption,
    MethodOption,
    OperatorOption,
    OutputOption,
    Split,
    WindowOption,
    command_line,
)


def simulate(
    operator: Annotated[
        list[Path],
        typer.Option("--operator", metavar="YAML...", help="One operator or several."),
    ],
    output: OutputOption,
    volumes: Annotated[
        list[str] | None,
        typer.Option(
            "--volumes",
            metavar="FILE...",
            help="npz, npy, nii, tif (or a folder of them) or zarr; FILE.npz::KEY names an array.",
        ),
    ] = None,
    made_objects: Annotated[
        int | None,
        typer.Option("--made-objects", min=1, metavar="N", help="Make N objects instead."),
    ] = None,
    made_seed: Annotated[
        int, typer.Option("--made-seed", min=0, help="Which series of made objects.")
    ] = 0,
    made_smallest: Annotated[
        float,
        typer.Option(
            "--made-smallest",
            metavar="FRACTION",
            help="Leave out parts thinner than this, in half sides of the grid.",
        ),
    ] = 0.0,
    validation: Annotated[
        int, typer.Option("--validation", min=0, metavar="N", help="The last N are for validation.")
    ] = 0,
    validation_volumes: Annotated[
        list[str] | None,
        typer.Option("--validation-volumes", metavar="FILE...", help="More, for validation."),
    ] = None,
    split: Annotated[
        Split, typer.Option("--split", help="What the other volumes are for.")
    ] = "train",
    photons: Annotated[
        float | None,
        typer.Option("--photons", metavar="I0", help="Photons per ray without an object."),
    ] = None,
    relative_noise: Annotated[
        float | None,
        typer.Option("--relative-noise", metavar="L", help="Norm of the noise over that of y."),
    ] = None,
    same_grid: Annotated[
        bool,
        typer.Option("--same-grid", help="Simulate on the operator's own grid: inverse crime."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the noise.")] = 0,
    mode: Annotated[
        Literal["fit", "physical"],
        typer.Option("--mode", help="Fit volumes into the grid, or keep their voxel size."),
    ] = "fit",
    mask: Annotated[
        Literal["cylinder"] | None,
        typer.Option("--mask", help="Cut volumes to the inscribed cylinder."),
    ] = None,
    value_range: Annotated[
        tuple[float, float] | None,
        typer.Option("--value-range", metavar="LOW HIGH", help="Values that become 0 and 1."),
    ] = None,
    window: WindowOption = "hann",
    method: MethodOption = "auto",
    backend: BackendOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Simulate measurements of volumes, or of made objects, and write a data store."""
    from normalfit.progress_bar import progress_bars
    from partunroll.measurements.noise import noise_model
    from partunroll.measurements.operator_files import load_operators
    from partunroll.measurements.simulation import simulate as simulate_data
    from partunroll.objects.object_choice import choose_objects, choose_validation

    check_outputs(output, json)
    with progress_bars() as bars:
        summary = simulate_data(
            load_operators(operator),
            choose_objects(volumes or [], made_objects, made_seed, made_smallest),
            output,
            noise=noise_model(photons, relative_noise),
            same_grid=same_grid,
            seed=seed,
            split=split,
            validation=choose_validation(validation, validation_volumes or []),
            window=window,
            method=method,
            mode=mode,
            mask=mask,
            value_range=value_range,
            backend=backend,
            device=device,
            progress=bars,
        )
    print_result(str(summary), summary.as_json(), json)


def line_integrals(
    scan: Annotated[
        Path,
        typer.Argument(metavar="NPZ", help="Counts 'projections', 'flat', and maybe 'dark'."),
    ],
    output: OutputOption,
) -> None:
    """Turn raw detector counts into line integrals, a new .npy or .zarr."""
    from partunroll.measurements.line_integrals_to_file import line_integrals_to_file

    print_result(str(line_integrals_to_file(scan, output)))


def initial(
    operator: OperatorOption,
    measurements: MeasurementsOption,
    output: OutputOption,
    method: MethodOption = "auto",
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Of least squares.")
    ] = None,
    window: WindowOption = "hann",
    cutoff: Annotated[
        float, typer.Option("--cutoff", help="Where the window ends, of the Nyquist frequency.")
    ] = 1.0,
    backend: BackendOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Make an initial estimate of measurements, a new .npy or .zarr."""
    from normalfit.specs import load_spec
    from partunroll.baselines.estimate_to_file import estimate_to_file

    check_outputs(output, json)
    summary = estimate_to_file(
        load_spec(operator),
        measurements,
        output,
        window=window,
        cutoff=cutoff,
        method=method,
        iterations=iterations,
        backend=backend,
        device=device,
        command=command_line(),
    )
    print_result(str(summary), summary.as_json(), json)
