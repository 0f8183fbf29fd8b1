"""CommandGroup: a group of commands whose help is printed at once and in whole sentences."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class CommandGroup(TyperGroup):
    """A group that answers ``--help`` before it reads any other argument.

    Reading arguments costs an import of pydantic in some versions of typer (0.35 s on a quiet
    core, of 0.55 s in all), and a frame drawn around the help one of rich as long again. Make
    the application with ``rich_markup_mode=None`` and ``context_settings=SETTINGS``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's
        """Print the help that is asked for and end, or parse the arguments."""
        if set(args) & set(ctx.help_option_names):
            typer.echo(self._help_of(ctx, args))
            ctx.exit()
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's
        """Write the commands in the order they were registered, each with its first sentence."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_paragraph(command)) for name, command in commands if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _help_of(self, ctx: Any, args: list[str]) -> str:  # noqa: ANN401
        if args[0] in ctx.help_option_names:
            return str(ctx.get_help())
        name, command, _ = self.resolve_command(ctx, args)
        assert command is not None  # noqa: S101 - what is no command was refused
        return str(command.get_help(type(ctx)(command, info_name=name, parent=ctx)))


def _first_paragraph(command: Any) -> str:  # noqa: ANN401
    return " ".join((command.help or "").split("\n\n")[0].split())
