"""Files of every version are read by every later one; they are never made again."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from normalfit.factor_file import load_factors, open_factors, validate
from normalfit.factor_file.header import VERSION

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*/*.zarr")) + sorted(GOLDEN.glob("*/*.zip"))


def name_of(path):
    return "/".join(path.parts[-2:])


@pytest.fixture(scope="module")
def independent():
    spec = importlib.util.spec_from_file_location("r", GOLDEN.parent / "independent_reader.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expected(path):
    with np.load(path.with_suffix(".npz")) as known:
        return known["probe"], known["response"]


def relative(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


def test_there_are_files_of_every_version():
    assert {path.parent.name for path in FILES} == {"0.1", VERSION}
    assert len(FILES) >= 16


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_it_gives_the_response_that_it_gave_then(path):
    probe, response = expected(path)
    factors = load_factors(path)
    wide = torch.complex128 if factors.is_complex else torch.float64
    found = factors.to("cpu", wide)(torch.from_numpy(probe)).numpy()
    assert relative(found, response) < 1e-12


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_an_independent_reader_agrees(path, independent):
    probe, response = expected(path)
    assert relative(independent.apply(path, probe), response) < 1e-6


def test_the_independent_reader_is_short_and_knows_nothing_of_us(independent):
    lines = Path(independent.__file__).read_text().splitlines()
    assert len(lines) <= 45
    imported = {line.split()[1] for line in lines if line.startswith(("import", "from"))}
    assert imported == {"itertools", "typing", "numpy", "zarr"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_it_is_sound(path):
    validation = validate(path, deep=True)
    assert validation.problems == ()
    assert validation.deep


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_its_operator_comes_back(path):
    file = open_factors(path)
    holds_one = path.stem in ("periodic", "many_chunks")
    assert (file.spec is not None) == holds_one
    if file.spec is not None:
        assert file.spec.fingerprint == file.fingerprint
