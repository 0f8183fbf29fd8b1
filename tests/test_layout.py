"""README's layout is the modules' own first lines, so it cannot drift from the code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
START, END = "<!-- layout -->", "<!-- /layout -->"


def layout_of(package):
    """Return one line per module: its path inside the package, and its docstring's first line."""
    source = ROOT / "packages" / package / "src" / package
    lines = []
    for path in sorted(source.rglob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert doc, f"{path} must have a docstring"
        lines.append(f"    {path.relative_to(source).as_posix():<36} {doc.splitlines()[0]}")
    return lines


def layout():
    """Return the whole layout as it stands in README."""
    parts = []
    for package in ("normalfit", "partunroll"):
        parts += [
            f"**{package}** (`packages/{package}/src/{package}/`)",
            "",
            *layout_of(package),
            "",
        ]
    return "\n".join(parts)


def test_readme_shows_the_layout_as_it_is():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split(START)[1].split(END)[0].strip()
    assert shown == layout().strip(), (
        "README's layout must be as `python tests/test_layout.py` says"
    )


@pytest.mark.parametrize("package", ["normalfit", "partunroll"])
def test_no_module_is_longer_than_the_style_allows(package):
    source = ROOT / "packages" / package / "src"
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in source.rglob("*.py")}
    assert {p.name: n for p, n in lengths.items() if n > 300} == {}


if __name__ == "__main__":  # rewrite README
    page = ROOT / "README.md"
    before, rest = page.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    page.write_text(f"{before}{START}\n\n{layout().strip()}\n\n{END}{after}", encoding="utf-8")
