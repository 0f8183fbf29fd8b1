"""TwoWordCommands: a group of commands of which some have two words: ``prepare walnut``."""

from __future__ import annotations

from typing import Any

from normalfit.command_group import CommandGroup


class TwoWordCommands(CommandGroup):
    """A group that looks for a command of the first two words before one of the first.

    So ``prepare`` takes options, and ``prepare walnut`` others. A command whose name is the
    beginning of another's must have no positional arguments.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - click's
        """Return the name, the command and the arguments that are left."""
        name = " ".join(args[:2])
        command = self.get_command(ctx, name) if len(args) > 1 else None
        if command is not None:
            return name, command, args[2:]
        return super().resolve_command(ctx, args)
