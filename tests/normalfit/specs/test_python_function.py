"""Kind `python`: where modules are found, and what a function may not do."""

import sys

import pytest

from normalfit.errors import BackendError, InputError
from normalfit.specs import load_spec, spec_from_document

SOURCE = """
from normalfit.errors import BackendError
from normalfit.grid import Grid
from normalfit.linear_operator import LinearOperator
from normalfit.operators.example_operator import moving_average

number = 3

def operator(width=1):
    return moving_average([4, 9], width)

def nothing():
    pass

def without_gpu():
    raise BackendError("no GPU")

def broken():
    return [][1]

def leaves():
    raise SystemExit(3)

class Bare(LinearOperator):
    def _forward(self, x):
        return x

    _adjoint = _forward

def without_domain():
    return Bare()

def without_range():
    operator = Bare()
    operator.domain = Grid((3,))
    return operator
"""


@pytest.fixture(autouse=True)
def _restore_python_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def spec_of(tmp_path, write_spec):
    """Write a module of a name, and load a spec that names one of its functions."""

    def load(module, function, arguments=None, source=SOURCE):
        (tmp_path / f"{module}.py").write_text(source)
        name = f"{module}:{function}"
        return load_spec(
            write_spec({"kind": "python", "function": name, "arguments": arguments or {}})
        )

    return load


def test_module_beside_the_yaml_is_found(spec_of):
    spec = spec_of("beside_yaml", "operator", {"width": 3})
    assert spec.build().range.shape == (4, 7)
    assert spec.grid.shape == (4, 9)


def test_module_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "in_current_folder.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    document = {"kind": "python", "function": "in_current_folder:operator"}
    assert spec_from_document(document, {}).build().domain.shape == (4, 9)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("absent", "'absent' is no function of"),
        ("number", "'number' is no function of"),
        ("nothing", "must return a normalfit LinearOperator, got NoneType"),
        ("broken", "must return an operator, got IndexError: list index out of range"),
        ("leaves", "must return an operator, got SystemExit: 3"),
        ("without_domain", "domain of module_with_without_domain:.* must be a Grid, got None"),
        ("without_range", "range of module_with_without_range:.* must be a Grid, got None"),
    ],
)
def test_function_must_return_an_operator(spec_of, function, problem):
    with pytest.raises(InputError, match=problem):
        spec_of(f"module_with_{function}", function).build()


def test_wrong_arguments_are_reported(spec_of):
    with pytest.raises(InputError, match=r"got TypeError: operator\(\) got an unexpected keyword"):
        spec_of("wrong_arguments", "operator", {"hight": 3}).build()


def test_errors_of_normalfit_pass(spec_of):
    with pytest.raises(BackendError, match="no GPU"):
        spec_of("needs_gpu", "without_gpu").build()


def test_missing_module_says_where_it_was_looked_for(write_spec, tmp_path):
    spec = load_spec(write_spec({"kind": "python", "function": "not_there.at_all:f"}))
    with pytest.raises(InputError, match=f"got not_there.at_all; looked in {tmp_path}"):
        spec.build()


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import not_installed_anywhere", "ModuleNotFoundError: No module named"),
        ("def operator(:", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
    ],
)
def test_module_that_fails_is_told_from_a_missing_one(spec_of, source, problem):
    module = f"failing_{len(source)}"
    with pytest.raises(InputError, match=f"module {module} must be importable, got {problem}"):
        spec_of(module, "operator", source=source).build()


def test_module_of_another_folder_is_not_taken_for_this_one(spec_of, tmp_path, monkeypatch):
    assert spec_of("same_name", "operator").build()
    other = tmp_path / "other"
    other.mkdir()
    (other / "same_name.py").write_text(SOURCE)
    (other / "op.yaml").write_text("kind: python\nfunction: same_name:operator\n")
    with pytest.raises(InputError, match="already loaded or installed"):
        load_spec(other / "op.yaml").build()


def test_arguments_cannot_be_changed_by_the_function(spec_of):
    source = SOURCE + "\ndef greedy(shape):\n    return moving_average([4, shape.pop()], 1)\n"
    spec = spec_of("greedy_module", "greedy", {"shape": [4, 9]}, source)
    assert spec.build().domain == spec.build().domain


def test_module_behind_a_link_is_the_one_in_the_folder(spec_of, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "anything.py").write_text(SOURCE)
    (tmp_path / "linked.py").symlink_to(tmp_path / "elsewhere" / "anything.py")
    assert spec_of("linked", "operator").build()


def test_partial_functions_are_called(spec_of):
    source = SOURCE + "\nfrom functools import partial\nnarrow = partial(operator, width=3)\n"
    assert spec_of("with_partial", "narrow", source=source).build().range.shape == (4, 7)


def test_functions_of_python_itself_are_refused(spec_of):
    with pytest.raises(InputError, match="got disguised:system, which is Python's posix"):
        spec_of("disguised", "system", {"command": "true"}, "from os import system").build()
