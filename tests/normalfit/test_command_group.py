"""Help is printed before anything else is read, by groups and by their commands."""

import subprocess
import sys

import pytest
import typer

from normalfit.cli import app as normalfit_app
from normalfit.command_group import SETTINGS, CommandGroup
from normalfit.command_line import run
from partunroll.cli import app as partunroll_app

SLOW_TO_IMPORT = ("pydantic", "rich", "torch", "numba", "zarr")


def application():
    app = typer.Typer(cls=CommandGroup, rich_markup_mode=None, context_settings=SETTINGS)

    @app.command()
    def first(number: int):
        """Do the first thing, which takes many more words to say than fit into one line of help.

        And this is only for those who ask for more.
        """

    @app.command()
    def second():
        """Do the second thing."""

    return app


def ended(app, *arguments):
    with pytest.raises(SystemExit) as caught:
        run(app, arguments=arguments)
    return caught.value.code


def test_the_group_says_the_first_sentence_of_every_command(capsys):
    assert ended(application(), "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "first Do the first thing, which takes many more words to say than fit into one" in said
    assert "line of help. second Do the second thing." in said
    assert "only for those" not in said


def test_the_help_of_a_command_comes_before_its_other_arguments(capsys):
    assert ended(application(), "first", "no number", "-h") == 0
    assert "only for those" in capsys.readouterr().out


def test_what_is_no_command_is_refused_also_with_help(capsys):
    assert ended(application(), "third", "--help") == 2
    assert "No such command 'third'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("app", "arguments"),
    [(normalfit_app, ["fit"]), (partunroll_app, ["prepare", "walnut"])],
    ids=["normalfit", "partunroll"],
)
def test_help_imports_nothing_that_is_slow(app, arguments):
    package = "normalfit" if app is normalfit_app else "partunroll"
    script = (
        f"import sys; sys.argv = {[package, *arguments, '--help']}\n"
        f"from {package}.cli import main\n"
        "try: main()\n"
        f"finally: print(*(m for m in {SLOW_TO_IMPORT} if m in sys.modules), 'loaded')"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert result.returncode == 0, result.stderr
    assert f"Usage: {package} {' '.join(arguments)} [OPTIONS]" in result.stdout
    assert result.stdout.splitlines()[-1].strip() == "loaded"


def test_commands_of_two_words_stand_with_their_first(capsys):
    assert ended(partunroll_app, "--help") == 0
    lines = capsys.readouterr().out.split("Commands:")[1].splitlines()
    names = [
        line[2:20].split("  ")[0] for line in lines if line.startswith("  ") and line[2] != " "
    ]
    place = names.index("prepare")
    assert names[place : place + 3] == ["prepare", "prepare walnut", "prepare calgary"]
