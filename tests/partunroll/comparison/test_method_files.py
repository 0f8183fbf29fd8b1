"""Results are used again only while the code and the files that made them are the same."""

import sys

import pytest

from partunroll.comparison.method_files import method_digests
from partunroll.comparison.recipe_row import RowSection


def digests(**method):
    return method_digests(RowSection.model_validate({"name": "row", "method": method}))


def test_options_that_name_nothing_have_no_digests():
    assert digests(kind="tv", choose={"weight": [1e-3, 1e-2]}) == {}


@pytest.mark.parametrize("package", [False, True])
def test_the_code_of_a_function_is_part_of_its_results(tmp_path, monkeypatch, package):
    monkeypatch.chdir(tmp_path)
    name = f"method_of_a_user_{package}"
    file = tmp_path / name / "inner.py" if package else tmp_path / f"{name}.py"
    file.parent.mkdir(exist_ok=True)
    if package:
        (file.parent / "__init__.py").touch()
    method = {"kind": "function", "function": f"{name}{'.inner' if package else ''}:f"}
    file.write_text("def f(A, y):\n    return A.adjoint(y)\n")
    first = digests(**method)
    assert digests(**method) == first
    file.write_text("def f(A, y):\n    return 2 * A.adjoint(y)\n")
    assert digests(**method) != first
    assert name not in sys.modules  # nothing is run


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "cg", "factors": "named"},
        {"kind": "pnp-pgd", "denoiser": {"path": "named"}},
        {"kind": "pnp-pgd", "choose": {"denoiser": ["named", "other.pt"]}},
    ],
)
def test_the_content_of_folders_is_part_of_results(tmp_path, monkeypatch, method):
    """Factor files and exported models are folders."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "named" / "inner").mkdir(parents=True)
    (tmp_path / "named" / "inner" / "part").write_text("a")
    first = digests(**method)
    (tmp_path / "named" / "inner" / "part").write_text("b")
    assert digests(**method) != first
