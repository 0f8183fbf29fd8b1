"""`import normalfit` and `normalfit --help` load none of the heavy libraries."""

import subprocess
import sys

import pytest

import normalfit

HEAVY = ("torch", "numba", "zarr", "scipy", "numpy", "pydantic", "matplotlib", "astra", "deepinv")


def loaded_after(code):
    script = f"import sys\n{code}\nprint(*(m for m in {HEAVY} if m in sys.modules))"
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return run.stdout.splitlines()[-1].split()


def test_the_package_loads_nothing():
    assert loaded_after("import normalfit") == []


def test_the_command_line_loads_nothing():
    help_of_all = "import normalfit.cli\ntry: normalfit.cli.main()\nexcept SystemExit: pass"
    assert loaded_after(f"sys.argv = ['normalfit', '--help']\n{help_of_all}") == []


def test_the_specs_load_no_torch():
    assert "torch" not in loaded_after("import normalfit.specs.operator_spec")


@pytest.mark.parametrize("name", normalfit.__all__)
def test_every_exported_name_is_there(name):
    assert getattr(normalfit, name).__name__ == name
    assert name in dir(normalfit)


def test_another_name_is_not():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = normalfit.nothing
