"""The command line of normalfit: a command reads arguments and makes one library call.

Libraries are imported inside the commands, so that `normalfit --help` is fast.
"""

from __future__ import annotations

import typer

from normalfit.cli.files import inspect, migrate, plot, validate
from normalfit.cli.fitting import evaluate, fit
from normalfit.cli.operators import check, template
from normalfit.command_group import SETTINGS, CommandGroup
from normalfit.command_line import run

app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=SETTINGS,
    help="Fit cheap, FFT-based approximations to the normal operator A*A of an operator A.",
)
for command in (template, check, fit, evaluate, inspect, validate, migrate, plot):
    app.command()(command)


def main() -> None:
    """Entry point of the `normalfit` command."""
    run(app)
