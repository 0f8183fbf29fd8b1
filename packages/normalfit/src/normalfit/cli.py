"""The command line of normalfit: a command reads arguments and makes one library call.

Libraries are imported inside the commands, so that `normalfit --help` is fast.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from normalfit.command_line import print_result, run
from normalfit.written_beside import check_outputs

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fit cheap, FFT-based approximations to the normal operator A*A of an operator A.",
)

OperatorOption = Annotated[
    Path, typer.Option("--operator", metavar="YAML", help="The operator; see 'template'.")
]
FactorsArgument = Annotated[Path, typer.Argument(metavar="FACTORS", help="A factor file.")]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Also write the figures as JSON to a new file."),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the random probes.")]


@app.command()
def template(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="cone_beam, parallel_beam, deconvolution, inpainting, multicoil_mri, "
            "noncartesian_mri or python.",
        ),
    ],
) -> None:
    """Print a commented operator YAML that works as it is."""
    from normalfit.specs.template import template as template_of

    print_result(template_of(kind).rstrip("\n"))


@app.command()
def check(
    operator: OperatorOption,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json: JsonOption = None,
) -> None:
    """Test an operator: adjointness, linearity, restriction to a patch, norm, seconds.

    The exit code is 1 if it is not linear, or not what it says of its adjoint.
    """
    from normalfit.devices import resolve_device
    from normalfit.operator_check import check as check_operator
    from normalfit.specs import load_spec

    check_outputs(json)
    report = check_operator(load_spec(operator).build(), seed=seed, device=resolve_device(device))
    print_result(str(report), report.as_json(), json)
    raise typer.Exit(1 if report.failures else 0)


@app.command()
def fit(
    operator: OperatorOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FACTORS", help="A new factor file.")
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
            "--lags", metavar="N|Z,Y,X", help="Lags of the kernels per axis, odd; default: all."
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
        int, typer.Option("--batch", min=1, help="Probes that A*A is applied to at once.")
    ] = 1,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Fit factors to the normal operator A*A and write a factor file."""
    from normalfit.factor_file_summary import figures, summary
    from normalfit.fit_to_file import fit_to_file
    from normalfit.per_axis import per_axis_counts, per_axis_names
    from normalfit.progress_bar import progress_bars
    from normalfit.specs import load_spec

    check_outputs(output, json, responses=responses)
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
            seed=seed,
            device=device,
            command=shlex.join(["normalfit", *sys.argv[1:]]),
            progress=bars,
            say=print_result,
        )
    print_result(summary(file), figures(file), json)


@app.command()
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


@app.command()
def inspect(factors: FactorsArgument, json: JsonOption = None) -> None:
    """Print what a factor file holds."""
    from normalfit.factor_file import open_factors
    from normalfit.factor_file_summary import figures, summary

    check_outputs(json)
    file = open_factors(factors)
    print_result(summary(file), figures(file), json)


@app.command()
def plot(
    factors: FactorsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PNG", help="A new picture.")],
    operator: Annotated[
        Path | None,
        typer.Option(
            "--operator",
            metavar="YAML",
            help="Default: the operator stored in the file (never one of kind python).",
        ),
    ] = None,
) -> None:
    """Draw kernels, spectra, diagonals, and exact against approximate A*A."""
    from normalfit.factor_file import open_factors
    from normalfit.plotting import plot_file
    from normalfit.specs import load_spec

    spec = None if operator is None else load_spec(operator)
    plot_file(open_factors(factors), output, spec)
    print_result(str(output))


def main() -> None:
    """Entry point of the `normalfit` command."""
    run(app)
