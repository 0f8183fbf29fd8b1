"""ListOptions: a command whose list options take several values: ``--volumes a.npz b.npz``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


class ListOptions(TyperCommand):
    """A command that reads ``--volumes a b`` as ``--volumes a --volumes b``.

    Typer's own options take a fixed number of values. Commands made with this class have no
    positional argument after such an option.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's
        """Parse the arguments with every value of a list option made an option of its own."""
        names = {
            name
            for option in self.params
            if getattr(option, "multiple", False)
            for name in option.opts
        }
        return super().parse_args(ctx, repeat_list_options(args, names))


def repeat_list_options(arguments: Sequence[str], names: Collection[str]) -> list[str]:
    """Return the arguments with the name of a list option before each of its values.

    The values of an option end at the next argument that begins with ``-``, other than a number.
    """
    repeated: list[str] = []
    name, num_values = None, 0
    for argument in arguments:
        if _is_option(argument):
            name, num_values = (argument if argument in names else None), 0
        elif name is not None:
            if num_values:
                repeated.append(name)
            num_values += 1
        repeated.append(argument)
    return repeated


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and not argument[1:2].isdigit() and argument != "-"
