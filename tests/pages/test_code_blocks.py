"""Every code block of README and docs/ runs, in the order of its page, in an empty folder.

A block of Python is executed, one of bash is run line by line through the commands themselves, and
YAML is read by the schema that it belongs to. A block with a ``title="FILE"`` is that file from
then on. Comments before a block tell what is different here:

    <!-- not run: REASON -->
    <!-- in tests: "--steps 300" is "--steps 3" -->
    <!-- in tests, of small files: "--views 30" is "--views 6" -->

The second keeps the normal run short; ``-m slow`` runs such pages as they stand, but for the third:
files that a page takes for granted are made by the fixture `make_files`, and are small.
"""

import contextlib
import io
import json
import re
import shlex
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pytest
import yaml

import normalfit.cli
import partunroll.cli
from normalfit.specs import load_spec
from partunroll.baselines.method import KINDS, parse_method
from partunroll.comparison.recipe_file import load_recipe
from partunroll.configuration.train_config import TrainConfig, load_config
from partunroll.store.split_file import read_split

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md", *ROOT.glob("packages/*/README.md")]
COMMANDS = {"normalfit": normalfit.cli.main, "partunroll": partunroll.cli.main}
SHOWN = {"text"}  # the language of blocks that are no code
FENCE = re.compile(
    r"(?P<comments>(?:<!-- .*? -->\n)*)^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S
)
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")
IN_TESTS = re.compile(r'<!-- in tests(, of small files|): "(.+?)" is "(.*?)" -->')
GENERATED = re.compile(r"<!-- layout -->.*?<!-- /layout -->", re.S)  # held by tests/test_layout.py


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language and text, and what its comments say."""

    line: int
    language: str
    title: str | None
    text: str
    reason: str | None
    replaced: tuple[tuple[str, str, str], ...]  # whether files are small, what is shown, what is

    def source(self, shortened):
        text = self.text
        for small, shown, taken in self.replaced:
            assert shown in text, f"line {self.line}: {shown!r} must be in the block"
            text = text.replace(shown, taken) if shortened or small else text
        return text


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        language, _, more = match["info"].partition(" ")
        title = re.fullmatch(r'title="([^"/]+)"', more)
        assert title or not more, f"{page.name}: {more!r} must be a title"
        reason = NOT_RUN.search(match["comments"])
        yield Block(
            line=text.count("\n", 0, match.start("info")) + 1,
            language=language,
            title=title and title[1],
            text=match["text"],
            reason=reason and reason[1],
            replaced=tuple(IN_TESTS.findall(match["comments"])),
        )


def page_name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_all_code_is_in_fences_with_a_language(page):
    text = GENERATED.sub("", page.read_text(encoding="utf-8"))
    outside = FENCE.sub("", text)
    assert "```" not in outside, "every fence must begin a line and end"
    assert not re.search(
        r"\n\n {4,}\S", re.sub(r"^( *[*-] .*\n(\n? +.*\n)*)", "", outside, flags=re.M)
    )
    known = {"python", "bash", "yaml", "toml", "json"} | SHOWN
    assert {block.language for block in blocks_of(page)} <= known


def test_few_blocks_are_not_run_and_each_says_why():
    found = [
        (page_name(page), block.text.splitlines()[0], block.reason)
        for page in PAGES
        for block in blocks_of(page)
        if block.reason is not None
    ]
    listed = "\n".join(map(str, found))
    assert len(found) <= MOST_NOT_RUN, f"blocks that no test runs:\n{listed}"
    assert all(len(reason) > 15 for _, _, reason in found), listed


MOST_NOT_RUN = 14


def runnable(page):
    return [block for block in blocks_of(page) if block.language not in SHOWN and not block.reason]


SHORT = [page for page in PAGES if runnable(page)]
LONG = [
    page
    for page in SHORT
    if any(not small for block in runnable(page) for small, _, _ in block.replaced)
]


@pytest.mark.filterwarnings("ignore:Samples will be rescaled")  # mri-nufft says what it does
@pytest.mark.parametrize("page", SHORT, ids=page_name)
def test_the_page_runs(page, tmp_path, monkeypatch, make_files):
    run_page(page, tmp_path, monkeypatch, make_files, shortened=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", LONG, ids=page_name)
def test_the_page_runs_as_it_stands(page, tmp_path, monkeypatch, make_files):
    run_page(page, tmp_path, monkeypatch, make_files, shortened=False)


def run_page(page, folder, monkeypatch, make_files, *, shortened):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    mpl.use("agg")
    modules = set(sys.modules)
    make_files(page_name(page), folder)
    names = {"__name__": "__main__"}
    try:
        for block in runnable(page):
            try:
                run_block(block, block.source(shortened), names)
            except BaseException as error:
                error.add_note(f"in the block at line {block.line} of {page_name(page)}")
                raise
    finally:
        for name in set(sys.modules) - modules:  # the page's own modules, for the next page
            if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == folder:
                del sys.modules[name]


def run_block(block, text, names):
    if block.title:
        Path(block.title).write_text(text, encoding="utf-8")
    match block.language:
        case "python" if not block.title:  # one with a title is a module, for others to import
            exec(compile(text, f"line {block.line}", "exec"), names)  # noqa: S102
        case "python":
            compile(text, block.title, "exec")
        case "bash":
            for line in text.replace("\\\n", " ").splitlines():
                run_line(line)
        case "yaml":
            read_yaml(text, Path(block.title or "untitled.yaml"))
        case "toml":
            install_entry_points(tomllib.loads(text)["project"]["entry-points"])
        case "json":
            json.loads(text)


def run_line(line):
    words = shlex.split(line, comments=True)
    if not words:
        return
    target = words.pop() if ">" in words else None
    program, *arguments = words[:-1] if target else words
    assert program in COMMANDS, f"{program} must be one of {', '.join(COMMANDS)}, or not be run"
    said, complaint = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complaint),
    ):
        patch.setattr(sys, "argv", [program, *arguments])
        with pytest.raises(SystemExit) as ended:
            COMMANDS[program]()
    assert ended.value.code == 0, f"{line}\n{complaint.getvalue()}"
    if target:
        Path(target).write_text(said.getvalue(), encoding="utf-8")


def install_entry_points(groups):
    """Let the current folder stand for an installed package with these entry points."""
    info = Path("page-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: page\nVersion: 1.0\n")
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


def read_yaml(text, path):
    """Read a document by the schema that its keys tell."""
    path.write_text(text, encoding="utf-8")
    document = yaml.safe_load(text)
    if document.get("kind") in KINDS:
        parse_method(document)
    elif "kind" in document:
        load_spec(path)
    elif "rows" in document:
        load_recipe(path)
    elif all(isinstance(value, list) for value in document.values()):
        read_split(path, [str(name) for names in document.values() for name in names])
    else:
        assert set(document) <= set(TrainConfig.model_fields)
        load_config(path)
