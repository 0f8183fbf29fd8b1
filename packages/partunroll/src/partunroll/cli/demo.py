"""The command demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from normalfit.command_line import print_result
from partunroll.cli.options import DeviceOption


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="A new folder.")
    ] = Path("partunroll-demo"),
    modality: Annotated[
        Literal["ct", "mri"], typer.Option("--modality", help="Cone beam, or multi-coil MRI.")
    ] = "ct",
    device: DeviceOption = "auto",
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes that only check the plumbing.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the training runs.")] = 0,
) -> None:
    """Do everything once on made objects and compare methods in one table."""
    from normalfit.progress_bar import progress_bars
    from partunroll.demo.chain import run_demo

    with progress_bars() as bars:
        report = run_demo(
            output, modality=modality, device=device, quick=quick, seed=seed, progress=bars
        )
    print_result(str(report))
