"""How a command ends: one printed result, or one `error:` line and exit code 2; warnings."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from normalfit.errors import NormalfitError
from normalfit.written_beside import written_beside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

INPUT_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it

# typer carries click under a private name in some versions; both have this chain of bases
_CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]


def run(
    app: typer.Typer,
    *,
    errors: tuple[type[Exception], ...] = (NormalfitError,),
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Run a typer application and exit.

    The exit code is 0, or 2 after one `error:` line on stderr, or 130 after Ctrl-C. Errors
    that no user can cause keep their traceback.

    Parameters
    ----------
    app
        The application; make it with ``pretty_exceptions_enable=False``.
    errors
        Roots of the exceptions that are a user's to mend, besides wrong usage, files that
        cannot be read or written, and memory that does not suffice.
    arguments
        Arguments of the command line; None means those of the process.
    """
    code: object = None
    try:
        code = app(args=arguments, standalone_mode=False)
    except _CommandLineError as error:
        code = _fail(_usage_message(error))
    except errors as error:
        code = _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):  # before RuntimeError, which Abort is
        code = INTERRUPTED
    except OSError as error:
        code = _fail(_file_message(error))
    except MemoryError as error:
        code = _fail(f"memory must suffice, got {str(error) or 'too little'}; use fewer voxels")
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        code = _fail(f"memory must suffice, got {error}; use fewer voxels")
    sys.exit(code if isinstance(code, int) else 0)


def print_result(
    text: str, figures: Mapping[str, Any] | None = None, json_path: Path | None = None
) -> None:
    """Print the result of a command on stdout, and write its figures to a JSON file if asked.

    Figures that are not finite become null, which JSON readers understand.

    Raises
    ------
    InputError
        `json_path` exists or cannot be written.
    """
    if json_path is not None:
        content = json.dumps(finite(figures), indent=2, allow_nan=False) + "\n"
        with written_beside(json_path) as fresh:
            fresh.write_text(content, encoding="utf-8")
    sys.stdout.write(f"{text}\n")


def print_warning(text: str) -> None:
    """Print one `warning:` line on stderr: the command goes on."""
    sys.stderr.write(f"warning: {text}\n")


def finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return JSON values with null in the place of numbers that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    return [finite(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return INPUT_ERROR


def _usage_message(error: Exception) -> str:
    format_message = getattr(error, "format_message", error.__str__)
    context = getattr(error, "ctx", None)
    hint = f"; see '{context.command_path} --help'" if context is not None else ""
    return f"{format_message().rstrip('.')}{hint}"


def _file_message(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; torch is not imported for the question."""
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return on_gpu or "DefaultCPUAllocator" in str(error)
