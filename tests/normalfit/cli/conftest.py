"""Ways to call the command line on a small deconvolution."""

import sys

import pytest
import yaml

from normalfit.cli import main

OPERATOR = """
kind: deconvolution
volume_shape: [12, 10]
gaussian_std_voxels: 1.0
boundary: linear
"""


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command in `tmp_path` and returns code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "op.yaml").write_text(OPERATOR)
    (tmp_path / "other.yaml").write_text(OPERATOR.replace("1.0", "2.0"))

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["normalfit", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return run


@pytest.fixture
def fitted(call, tmp_path):
    """Return the path of a factor file of op.yaml."""
    code, _, error = call("fit", "--operator", "op.yaml", "-o", "f.zarr", "--probes", 4)
    assert (code, error) == (0, "")
    return tmp_path / "f.zarr"


@pytest.fixture
def assert_refused():
    """Return what asserts that a result is one `error:` line with these parts in it."""

    def check(result, *parts):
        code, out, error = result
        assert code == 2
        assert out == ""
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        for part in parts:
            assert part in error

    return check


@pytest.fixture
def write_python_operator():
    """Return what writes the YAML file of a python function."""

    def write(path, function):
        document = {"kind": "python", "function": function, "arguments": {}}
        path.write_text(yaml.safe_dump(document))

    return write
