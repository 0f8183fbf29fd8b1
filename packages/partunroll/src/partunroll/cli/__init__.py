"""The command line of partunroll: a command reads arguments and makes one library call.

Libraries are imported inside the commands, so that `partunroll --help` is fast.
"""

from __future__ import annotations

import typer

from normalfit.command_line import run
from normalfit.errors import NormalfitError
from partunroll.cli.baselines import baseline
from partunroll.cli.data import initial, line_integrals, prepare, simulate
from partunroll.cli.demo import demo
from partunroll.cli.export import export
from partunroll.cli.known_data import operators, prepare_calgary, prepare_walnut
from partunroll.cli.list_options import ListOptions
from partunroll.cli.mri import coil_maps, compress_coils, sampling_mask
from partunroll.cli.results import evaluate, reconstruct
from partunroll.cli.training import train
from partunroll.cli.two_word_commands import TwoWordCommands
from partunroll.errors import PartunrollError

app = typer.Typer(
    cls=TwoWordCommands,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train unrolled networks on patches of large volumes, and reconstruct whole ones.",
)
for command in (
    simulate,
    prepare,
    operators,
    line_integrals,
    coil_maps,
    sampling_mask,
    compress_coils,
    initial,
    baseline,
    train,
    export,
    reconstruct,
    evaluate,
    demo,
):
    app.command(cls=ListOptions)(command)
app.command("prepare walnut", cls=ListOptions)(prepare_walnut)
app.command("prepare calgary", cls=ListOptions)(prepare_calgary)


def main() -> None:
    """Entry point of the `partunroll` command."""
    run(app, errors=(NormalfitError, PartunrollError))
