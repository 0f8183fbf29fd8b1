"""Options that several commands share, and the command line as it was typed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

Split = Literal["train", "validation", "test"]
CoilMapMethod = Literal["calibration", "espirit"]
_Method = Literal["auto", "fdk", "least-squares"]
_DEVICE = typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")
_WINDOWS = "ramp|shepp-logan|cosine|hamming|hann"

OperatorOption = Annotated[
    Path,
    typer.Option("--operator", metavar="YAML", help="The operator; see 'normalfit template'."),
]
MeasurementsOption = Annotated[
    Path,
    typer.Option(
        "--measurements",
        metavar="FILE",
        help="npy, npz, h5, cfl, tif, zarr, or STORE/samples/ID/measurements.",
    ),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="PATH", help="What to make; must not exist yet.")
]
IntensityOption = Annotated[
    float | None,
    typer.Option(
        "--intensity-per-mm",
        help="What becomes 1; default: the 99.9th percentile of each reference.",
    ),
]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Also write the figures as JSON to a new file."),
]
DeviceOption = Annotated[str, _DEVICE]
ConfiguredDeviceOption = Annotated[str | None, _DEVICE]  # None: as the configuration says
BackendOption = Annotated[
    Literal["auto", "astra", "numba"] | None,
    typer.Option("--backend", help="Projector, instead of the one in the YAML."),
]
MethodOption = Annotated[
    _Method,
    typer.Option(
        "--method",
        help="How to make initial estimates: filtered backprojection (FDK, FBP) or least squares; "
        "auto takes the first where the geometry allows it.",
    ),
]
UsedMethodOption = Annotated[
    _Method | None,
    typer.Option("--method", help="How to make the initial estimate; default: as in training."),
]
WindowOption = Annotated[
    str,
    typer.Option(
        "--window",
        metavar=_WINDOWS,
        help="Window of the ramp filter of initial estimates.",
    ),
]
UsedWindowOption = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar=_WINDOWS,
        help="Window of the ramp filter; default: as in training.",
    ),
]
CalibrationOption = Annotated[
    int,
    typer.Option(
        "--calibration", min=2, help="Side of the fully sampled centre that coil maps come from."
    ),
]
MismatchOption = Annotated[
    bool,
    typer.Option(
        "--allow-mismatch",
        help="Use factors of another operator, voxel size or norm; never of another grid. What "
        "was allowed is recorded.",
    ),
]


def command_line() -> str:
    """Return the command line of this process, for the record."""
    return shlex.join(["partunroll", *sys.argv[1:]])
