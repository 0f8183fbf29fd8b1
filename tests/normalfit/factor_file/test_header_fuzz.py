"""Whatever a header says, reading ends in factors or in one of our errors."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from normalfit.errors import FactorFileError
from normalfit.factor_file import open_factors, save_factors, validate
from normalfit.factor_file.manifest import write_manifest
from normalfit.factor_file.summary import figures, summary

SETTINGS = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
numbers = st.integers(-(10**30), 10**30) | st.floats() | st.sampled_from([0, 1, 2, 3, 64, 2**63])
leaves = st.none() | st.booleans() | numbers | st.text(max_size=5) | st.just("linear")
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.fixture
def path(tmp_path, make_factors, metadata):
    save_factors(tmp_path / "f.zarr", make_factors(terms=2), metadata)
    return tmp_path / "f.zarr"


def places(value, place=()):
    """Yield the places of all values in a JSON document."""
    yield place
    items = dict(enumerate(value)) if isinstance(value, list) else value
    for key, inner in items.items() if isinstance(items, dict) else ():
        yield from places(inner, (*place, key))


def changed(document, place, value, *, remove):
    """Return a copy of a document with another value at a place, or none."""
    copy = json.loads(json.dumps(document))
    *outer, last = place
    target = copy
    for key in outer:
        target = target[key]
    if remove:
        del target[last]
    else:
        target[last] = value
    return copy


def assert_only_our_errors(path, data):
    file = path / data.draw(st.sampled_from(["zarr.json", "zarr.json", "kernel/zarr.json"]))
    sound = file.read_bytes()
    document = json.loads(sound)
    try:
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.sampled_from([place for place in places(document) if place]))
            value, remove = data.draw(values), data.draw(st.booleans())
            document = changed(document, place, value, remove=remove)
        file.write_text(json.dumps(document))
        write_manifest(path)
        with contextlib.suppress(FactorFileError):
            opened = open_factors(path)
            assert summary(opened)
            assert figures(opened)
            opened.load()
        validate(path)
    finally:
        file.write_bytes(sound)


@settings(max_examples=300, **SETTINGS)
@given(data=st.data())
def test_only_typed_errors(path, data):
    assert_only_our_errors(path, data)


@pytest.mark.slow
@settings(max_examples=10_000, **SETTINGS)
@given(data=st.data())
def test_only_typed_errors_many_times(path, data):
    assert_only_our_errors(path, data)
