"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace a factor file that is there, all at once.")
]
