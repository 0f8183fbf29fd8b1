"""The commands about operators."""

from __future__ import annotations

from typing import Annotated

import typer

from normalfit.cli.options import DeviceOption, JsonOption, OperatorOption, SeedOption
from normalfit.command_line import print_result
from normalfit.written_beside import check_outputs


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
