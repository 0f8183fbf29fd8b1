"""The commands that fit factors and measure them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from normalfit.cli.options import (
    DeviceOption,
    FactorsArgument,
    JsonOption,
    OperatorOption,
    OverwriteOption,
    SeedOption,
)
from normalfit.command_line import print_result
from normalfit.written_beside import check_outputs


def fit(
    operator: OperatorOption,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FACTORS",
            help="A new factor file; one file to mail if it ends in .zip.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="two-sided (the default), diagonal-circulant (the paper's), symmetric, local or "
            "multicoil.",
        ),
    ] = None,
    terms: Annotated[
        int | None,
        typer.Option(
            "--terms",
            min=1,
            help="Number of terms or virtual coils; default: as many as lower the held-out error.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", min=0, help="Add no more terms at this held-out error."),
    ] = None,
    boundary: Annotated[
        str | None,
        typer.Option(
            "--boundary",
            metavar="linear|periodic",
            help="What lies outside the grid: nothing, or the grid again. Also one per axis, "
            "'Z,Y,X'. Default: what suits the operator, linear but for Cartesian MRI and "
            "periodic blurs.",
        ),
    ] = None,
    lags: Annotated[
        str | None,
        typer.Option(
            "--lags",
            metavar="N|Z,Y,X",
            help="Most lags of the kernels per axis, odd; default: all that the grid has.",
        ),
    ] = None,
    windows: Annotated[
        str | None,
        typer.Option("--windows", metavar="N|Z,Y,X", help="Windows per axis of a local model."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="least-squares|adam|direct",
            help="How to fit; 'direct' computes the factors of MRI, exactly with all coils.",
        ),
    ] = "least-squares",
    probes: Annotated[
        int | None,
        typer.Option("--probes", min=1, help="Probes to fit to; the default depends on method."),
    ] = None,
    smooth_probes: Annotated[
        float | None,
        typer.Option(
            "--smooth-probes",
            metavar="SHARE",
            help="Share of the probes that are smooth, as volumes are; 0 is the paper's white "
            "ones. Only for least squares, where the default is 0.25.",
        ),
    ] = None,
    responses: Annotated[
        Path | None,
        typer.Option(
            "--responses",
            metavar="DIR",
            help="Keep the responses A*A w in this folder, and go on with those that it holds.",
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--start", metavar="FACTORS", help="Go on from this factor file's factors."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", min=1, help="Probes that A*A is applied to at once; default: 2^19 voxels."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Fit factors to the normal operator A*A and write a factor file."""
    from normalfit.factor_file.summary import figures, summary
    from normalfit.fit_to_file import fit_to_file
    from normalfit.least_squares_options import LeastSquaresOptions
    from normalfit.per_axis import per_axis_counts, per_axis_names
    from normalfit.progress_bar import progress_bars
    from normalfit.specs import load_spec

    check_outputs(output, json, responses=responses, replaced=output if overwrite else None)
    with progress_bars() as bars:
        file = fit_to_file(
            load_spec(operator),
            output,
            model=model,
            terms=terms,
            tolerance=tolerance,
            boundary=None if boundary is None else per_axis_names(boundary),
            lags=per_axis_counts("lags", lags),
            windows=per_axis_counts("windows", windows),
            method=method,
            probes=probes,
            responses=responses,
            batch=batch,
            start=start,
            options=None
            if smooth_probes is None
            else LeastSquaresOptions(smooth_probes=smooth_probes),
            overwrite=overwrite,
            seed=seed,
            device=device,
            command=shlex.join(["normalfit", *sys.argv[1:]]),
            progress=bars,
            say=print_result,
        )
    print_result(summary(file), figures(file), json)


def evaluate(
    factors: FactorsArgument,
    operator: OperatorOption,
    probes: Annotated[int, typer.Option("--probes", min=2, help="Probes to measure with.")] = 32,
    seed: SeedOption = 0,
    patch: Annotated[
        str | None,
        typer.Option("--patch", metavar="N|Z,Y,X", help="Voxels of the patches; half the grid."),
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Measure the error of factors on the grid and on patches, on probes no fit has seen."""
    from normalfit.factor_evaluation import evaluate_file
    from normalfit.factor_file import open_factors
    from normalfit.specs import load_spec

    check_outputs(json)
    evaluation = evaluate_file(
        open_factors(factors),
        load_spec(operator),
        probes=probes,
        seed=seed,
        patch=patch,
        device=device,
    )
    print_result(str(evaluation), evaluation.as_json(), json)
