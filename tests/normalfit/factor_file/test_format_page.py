"""docs/factor-file.md and its schema say what the files are; the reader on the page works."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from normalfit.factor_file import save_factors
from normalfit.factor_file.header import Header
from normalfit.factor_file.schema import json_schema

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/factor-file.md"
SCHEMA = ROOT / "docs/factor-file.schema.json"
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*/*.zarr"))


def code_blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: "/".join(path.parts[-2:]))
def test_the_reader_on_the_page_gives_the_known_responses(path):
    (reader,) = [code for code in code_blocks("python") if "def apply" in code]
    names: dict[str, Any] = {}
    exec(reader, names)  # noqa: S102 - the code on the page is what is tested
    with np.load(path.with_suffix(".npz")) as known:
        found = names["apply"](path, known["probe"])
        difference = np.abs(found - known["response"]).max()
        assert difference <= 1e-12 * np.abs(known["response"]).max()


def test_the_page_describes_every_key():
    table = PAGE.read_text(encoding="utf-8").split("## Header")[1].split("## Manifest")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(Header.model_fields)


def test_the_schema_is_the_one_in_the_docs():
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == json_schema()
    jsonschema.Draft202012Validator.check_schema(json_schema())


def attributes(path):
    return json.loads((path / "zarr.json").read_text())["attributes"]


def test_what_the_writer_writes_meets_the_schema(tmp_path, make_factors, metadata):
    validator = jsonschema.Draft202012Validator(json_schema())
    for number, (dtype, terms) in enumerate([("float32", 1), ("complex64", 3)]):
        import torch

        path = tmp_path / f"{number}.zarr"
        save_factors(path, make_factors(dtype=getattr(torch, dtype), terms=terms), metadata)
        validator.validate(attributes(path))
    for path in GOLDEN:
        assert validator.is_valid(attributes(path)) == (path.parent.name == "1.0")


@pytest.mark.parametrize(
    "change",
    [
        {"version": "2.0"},
        {"shape": [6, 5, 0]},
        {"boundary": ["linear", "open", "linear"]},
        {"colour": 1},
        {"norm": None},
        {"hermitian": "yes"},
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(tmp_path, make_factors, metadata, change):
    save_factors(tmp_path / "f.zarr", make_factors(), metadata)
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid(attributes(tmp_path / "f.zarr") | {"x": {"must_understand": False}})
    assert not validator.is_valid(attributes(tmp_path / "f.zarr") | change)
