"""The hooks of the site: the command reference tells all, planned pages wait for their files."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import normalfit
import partunroll

ROOT = Path(__file__).parents[2]


def hook(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"site_hooks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["normalfit", "partunroll"])
def test_the_reference_has_every_command_with_its_options_defaults_and_help(name):
    reference = hook("command_reference")
    application = reference.APPLICATIONS[name]
    sections = dict(
        re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", reference.page(name, application), re.M | re.S)
    )
    commands = reference.commands_of(application)
    assert list(sections) == list(commands)
    for command in commands.values():
        section = sections[command.name]
        assert command.help.split("\n")[0] in section
        rows = [line for line in section.splitlines() if line.startswith("|")]
        assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows), "two cells a row"
        for param in command.params:
            (row,) = [row for row in rows if is_about(row, param)]
            assert re.sub(r"\W", "", param.help or "") in re.sub(r"\W|lt;", "", row)
            if param.param_type_name == "option" and param.default not in (None, False):
                shown = f"[default: {param.default}"
                assert shown in row or isinstance(param.default, (list, tuple))


def is_about(row, param):
    if param.param_type_name == "option":
        return re.search(rf"{param.opts[0]}[ `,]", row.split(" | ")[0]) is not None
    return row.replace("\\", "").startswith(f"| `{param.metavar}")


@pytest.mark.parametrize("package", [normalfit, partunroll])
def test_the_python_reference_has_every_public_name(package):
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    named = re.findall(rf"^::: {package.__name__}\..*?(\w+)$", page, re.M)
    assert sorted(named) == sorted(package.__all__)


def test_planned_pages_are_in_the_nav_once_they_are_there(tmp_path):
    planned = hook("planned_pages")
    nav = ["index.md", {"More": [{"Baselines": "baselines.md"}, "mri.md", "comparison.md"]}]

    config = SimpleNamespace(docs_dir=str(tmp_path), nav=nav)
    assert planned.on_config(config).nav == ["index.md", {"More": ["mri.md"]}]
    (tmp_path / "baselines.md").touch()
    (tmp_path / "comparison.md").touch()
    config.nav = nav
    assert planned.on_config(config).nav == nav


@pytest.mark.slow  # .ci/run builds it, too
@pytest.mark.filterwarnings("ignore")  # of the libraries that build it
def test_the_site_is_built_strictly_and_fetches_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site")))
    pages = list((tmp_path / "site").rglob("*.html"))
    assert {"index.html", "theory.html", "api.html"} <= {page.name for page in pages}
    for page in pages:
        fetched = r'<(?:script|img|iframe)[^>]+src="https?:|<link[^>]+stylesheet[^>]+href="https?:'
        assert not re.search(fetched, page.read_text(encoding="utf-8")), page
