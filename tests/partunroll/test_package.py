"""What `import partunroll` offers."""

import subprocess
import sys

import pytest

import partunroll


@pytest.mark.parametrize("name", partunroll.__all__)
def test_every_name_is_there_and_hides_no_module(name):
    exported = getattr(partunroll, name)
    assert exported.__name__ == name
    assert exported.__module__ != f"partunroll.{name}"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        partunroll.nothing  # noqa: B018 - reading it is the test


@pytest.mark.parametrize("module", ["partunroll", "partunroll.cli"])
def test_importing_it_imports_no_heavy_library(module):
    heavy = ("torch", "deepinv", "numba", "zarr", "matplotlib", "scipy")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert done.stdout.strip() == "[]"
