"""A command ends with one result, or with one `error:` line and its exit code."""

import json
from pathlib import Path

import pytest
import torch
import typer

from normalfit.command_line import print_result, run
from normalfit.errors import InputError


class OtherRootError(Exception):
    """The root of another package's errors."""


def application(outcome):
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def first(number: int = 1):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @app.command()
    def second():
        pass

    return app


def exit_of(app, *arguments, **options):
    with pytest.raises(SystemExit) as caught:
        run(app, arguments=arguments, **options)
    return caught.value.code


@pytest.mark.parametrize("outcome", [None, "text"])
def test_success(outcome, capsys):
    assert exit_of(application(outcome), "first") == 0
    assert capsys.readouterr().err == ""


def test_help(capsys):
    assert exit_of(application(None), "--help") == 0
    assert "first" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (InputError("x must be\n  one line"), "error: x must be one line\n"),
        (OtherRootError("o"), "error: o\n"),
        (FileNotFoundError(2, "No such file", "op.yaml"), "error: op.yaml: No such file\n"),
        (OSError("disk is odd"), "error: disk is odd\n"),
        (MemoryError("Unable to allocate 9 TiB"), "error: memory must suffice, got Unable to "),
        (torch.OutOfMemoryError("CUDA out of memory."), "error: memory must suffice, got CUDA "),
    ],
)
def test_what_a_user_can_cause(outcome, line, capsys):
    assert exit_of(application(outcome), "first", errors=(InputError, OtherRootError)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments",
    [[], ["third"], ["first", "--number", "x"], ["first", "extra"], ["first", "--unknown", "1"]],
)
def test_wrong_usage(arguments, capsys):
    assert exit_of(application(None), *arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "--help'" in captured.err
    assert captured.err.count("\n") == 1


def test_what_no_user_can_cause_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a defect"):
        run(application(RuntimeError("a defect")), arguments=["first"])
    with pytest.raises(OtherRootError):
        run(application(OtherRootError()), arguments=["first"])


@pytest.mark.parametrize("outcome", [KeyboardInterrupt(), typer.Abort()])
def test_an_interruption(outcome, capsys):
    assert exit_of(application(outcome), "first") == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_exit_code_of_the_command_itself():
    assert exit_of(application(typer.Exit(3)), "first") == 3


def test_figures_are_json(tmp_path: Path, capsys):
    figures = {"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (1, None)}}
    print_result("text", figures, tmp_path / "f.json")
    assert capsys.readouterr().out == "text\n"
    content = json.loads((tmp_path / "f.json").read_text())
    assert content == {"a": None, "b": [1.5, None], "c": {"d": [1, None]}}


def test_figures_do_not_replace_a_file(tmp_path: Path):
    (tmp_path / "f.json").write_text("mine")
    with pytest.raises(InputError, match="output must not exist yet"):
        print_result("text", {}, tmp_path / "f.json")
    assert (tmp_path / "f.json").read_text() == "mine"
