"""MkDocs hook: the command reference, made from the commands themselves whenever the site is.

So a page of every command line, ``reference/normalfit.md`` and ``reference/partunroll.md``, has
every command with its help, arguments, options and defaults, and cannot be out of date.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import typer
from mkdocs.structure.files import File

import normalfit.cli
import partunroll.cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

APPLICATIONS = {"normalfit": normalfit.cli.app, "partunroll": partunroll.cli.app}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each command line."""
    for name, application in APPLICATIONS.items():
        content = page(name, application)
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def page(name: str, application: typer.Typer) -> str:
    """Return the reference of a command line as Markdown."""
    group: Any = typer.main.get_command(application)
    context = group.context_class(group, info_name=name)
    parts = [f"# {name}", group.help, "Every command has `-h` and `--help`."]
    for title, command in commands_of(application).items():
        parts += _command(command, name, title, context)
    return "\n\n".join(parts) + "\n"


def commands_of(application: typer.Typer) -> dict[str, Any]:
    """Return the commands of a command line by name, as its help lists them."""
    group: Any = typer.main.get_command(application)
    context = group.context_class(group)
    return {name: group.get_command(context, name) for name in group.list_commands(context)}


def _command(command: Any, application: str, name: str, parent: Any) -> Iterator[str]:
    context = type(parent)(command, info_name=name, parent=parent)
    yield f"## {name}"
    yield f"```text\n{application} {name} {' '.join(command.collect_usage_pieces(context))}\n```"
    yield inspect.cleandoc(command.help or "")
    records = [(p, record) for p in command.get_params(context) if (record := _record(p, context))]
    for title, kind in (("Argument", "argument"), ("Option", "option")):
        rows = [record for param, record in records if param.param_type_name == kind]
        if rows:
            lines = [f"| {title} | What it is |", "|---|---|"]
            lines += [f"| {_code(left)} | {_cell(right)} |" for left, right in rows]
            yield "\n".join(lines)


def _record(param: Any, context: Any) -> tuple[str, str] | None:
    """Return how a parameter is written and what it is, as `--help` says it; none for --help."""
    if param.name == "help":
        return None
    record: tuple[str, str] | None = param.get_help_record(context)
    return record


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
