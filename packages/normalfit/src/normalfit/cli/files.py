"""The commands about factor files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normalfit.cli.options import FactorsArgument, JsonOption
from normalfit.command_line import INPUT_ERROR, print_result
from normalfit.written_beside import check_outputs


def inspect(factors: FactorsArgument, json: JsonOption = None) -> None:
    """Print what a factor file holds."""
    from normalfit.factor_file import open_factors
    from normalfit.factor_file.summary import figures, summary

    check_outputs(json)
    file = open_factors(factors)
    print_result(summary(file), figures(file), json)


def validate(
    factors: FactorsArgument,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every byte, and apply the stored check vector.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """List every problem of a factor file with its place; the exit code is 2 if there is one."""
    from normalfit.factor_file import validate as validate_file

    check_outputs(json)
    validation = validate_file(factors, deep=deep)
    print_result(str(validation), validation.as_json(), json)
    raise typer.Exit(0 if validation.is_sound else INPUT_ERROR)


def migrate(
    factors: FactorsArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FACTORS", help="A new factor file; see above."),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Write a factor file of an earlier version as one of the present version.

    Without --output it only tells the steps. The old file stays as it is.
    """
    from normalfit.factor_file import migrate as migrate_file

    check_outputs(output, json)
    migration = migrate_file(factors, output)
    print_result(str(migration), migration.as_json(), json)


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
