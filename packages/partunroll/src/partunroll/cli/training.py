"""The command train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from normalfit.command_line import print_result, print_warning
from normalfit.written_beside import check_outputs
from partunroll.cli.one_voice import one_voice
from partunroll.cli.options import ConfiguredDeviceOption, JsonOption, MismatchOption


def train(
    factors: Annotated[
        list[Path],
        typer.Option("--factors", metavar="FACTORS...", help="A factor file per operator."),
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="STORE", help="A data store; default: made objects."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="YAML", help="Settings; docs/training.md lists them all."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Of the run; default: runs/ and FACTORS' name."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Training steps.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the run.")] = None,
    device: ConfiguredDeviceOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run where it was last saved.")
    ] = False,
    allow_mismatch: MismatchOption = False,
    tensorboard: Annotated[
        bool | None, typer.Option("--tensorboard", help="Also log for TensorBoard (an extra).")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what memory and time it would take, and end.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Train a network on patches of a data store, or of made objects.

    Options win over the configuration file.
    """
    from normalfit.progress_bar import progress_bars
    from partunroll.configuration.config_options import config_from_options
    from partunroll.training.patch_training import train as train_network
    from partunroll.training.planned_run import planned_run
    from partunroll.training.training_summary import figures, summary

    check_outputs(json)
    run = output or Path("runs") / factors[0].stem
    options = {"steps": steps, "seed": seed, "device": device, "tensorboard": tensorboard}
    settings = config_from_options(config, options, run, resume=resume)
    given = (settings, factors, data, run)
    with one_voice() as is_first, progress_bars() as bars:
        more: dict[str, Any] = {
            "resume": resume,
            "progress": bars,
            "allow_mismatch": allow_mismatch,
            "say": print_warning,
        }
        if plan:
            planned = planned_run(*given, **more)
        else:
            result = train_network(*given, **more, on_plan=lambda p: print_result(str(p)))
    if plan and is_first:
        print_result(str(planned), planned.as_json(), json)
        planned.check()
    elif is_first:
        print_result(summary(result), figures(result), json)
