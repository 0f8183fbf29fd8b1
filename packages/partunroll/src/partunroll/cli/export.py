"""The command export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normalfit.command_line import print_result
from normalfit.written_beside import check_outputs
from partunroll.cli.options import JsonOption, OutputOption


def export(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|CHECKPOINT", help="A run (its best.pt), or a .pt.")
    ],
    output: OutputOption,
    json: JsonOption = None,
) -> None:
    """Write a trained network as safetensors with its configuration and a model card."""
    from partunroll.network.export_to_folder import export_to_folder

    check_outputs(output, json)
    model = export_to_folder(source, output)
    print_result(str(model), model.as_json(), json)
