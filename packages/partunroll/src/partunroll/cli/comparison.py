"""The command compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normalfit.command_line import print_result
from normalfit.written_beside import check_outputs
from partunroll.cli.options import DeviceOption, JsonOption, command_line


def compare(
    recipe: Annotated[
        Path, typer.Option("--recipe", metavar="YAML", help="Data, operators, rows; see the docs.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="New, or to go on with."),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR|STORE",
            help="A folder of volumes, or a data store, in the place of the recipe's objects.",
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            "--split",
            metavar="YAML",
            help="What each volume of --data is for: names under train, validation and test; "
            "default: every second for the test, the last of the others for validation.",
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option("--rows", metavar="NAME...", help="Run these only; default: all."),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", min=1, help="Rows at a time; more than 1 changes measured times."),
    ] = 1,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Make a table of methods from one recipe: every row trained, reconstructed, measured."""
    import sys

    from normalfit.progress_bar import progress_bars
    from partunroll.comparison.compare import compare as compare_rows
    from partunroll.comparison.recipe_file import load_recipe
    from partunroll.comparison.table_markdown import table_markdown

    check_outputs(json)
    checked = load_recipe(recipe, data, split)
    with progress_bars() as bars:
        table = compare_rows(
            checked,
            output,
            rows=rows,
            jobs=jobs,
            device=device,
            command=command_line(),
            say=lambda line: sys.stderr.write(f"{line}\n"),
            progress=bars,
        )
    print_result(table_markdown(table), table.as_json(), json)
