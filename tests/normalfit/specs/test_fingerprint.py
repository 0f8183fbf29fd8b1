"""The fingerprint: same operator, same hash; another operator, another hash."""

import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
import yaml
from hypothesis import given, settings

from normalfit.specs import load_spec, spec_from_document
from normalfit.specs.fingerprint import fingerprint

NUMBERS = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda entries: st.lists(entries, max_size=3) | st.dictionaries(st.text(max_size=3), entries),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=5)


def respelled(value):
    """Whole numbers the other way round: 1 as 1.0, 1.0 as 1; keys in reverse order."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and float(value) == value:
        return float(value)
    if isinstance(value, dict):
        return {key: respelled(entry) for key, entry in reversed(value.items())}
    return [respelled(entry) for entry in value] if isinstance(value, list) else value


@settings(deadline=None)
@given(DOCUMENTS)
def test_spelling_and_order_do_not_matter(document):
    assert fingerprint(document, {}) == fingerprint(respelled(document), {})


@settings(deadline=None)
@given(DOCUMENTS, st.text(min_size=6).filter(lambda key: key != "backend"), VALUES)
def test_another_key_matters(document, key, value):
    assert fingerprint(document, {}) != fingerprint(document | {key: value}, {})


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=6), st.data())
def test_array_values_shape_and_place_matter(values, data):
    array = np.array(values)
    index = data.draw(st.integers(0, len(values) - 1))
    changed = array.copy()
    changed[index] = np.nextafter(array[index], 0 if array[index] else 1)
    kept = fingerprint({}, {"kernel_file": array})
    assert kept == fingerprint({"kernel_file": "any name"}, {"kernel_file": array.copy()})
    assert kept == fingerprint({}, {"kernel_file": array.astype(">f8")})
    assert kept != fingerprint({}, {"kernel_file": changed})
    assert kept != fingerprint({}, {"kernel_file": array[None]})
    assert kept != fingerprint({}, {"mask_file": array})


def test_no_two_kinds_share_a_fingerprint(cases, tmp_path):
    found = {spec_from_document(*case).fingerprint for case in cases.values()}
    assert len(found) == len(cases)


def test_yaml_formatting_defaults_and_backend_do_not_matter(tmp_path):
    texts = [
        "kind: parallel_beam\nvolume_shape: [8, 8]\nnum_columns: 12\npixel_mm: 1\nnum_views: 5\n",
        "{num_views: 5.0, pixel_mm: 1.0, num_columns: 12, volume_shape: [8, 8.0],\n"
        " kind: 'parallel_beam', backend: numba}  # a comment\n",
        "kind: parallel_beam\nvoxel_mm: [1, 1.0]\nvolume_shape:\n- 8\n- 8\nnum_columns: 12\n"
        "pixel_mm: 1e0\nnum_views: 5\nrotation_axis_column: 5.5\nangle_range_deg: 180\n",
    ]
    path = tmp_path / "op.yaml"
    found = set()
    for text in texts:
        path.write_text(text)
        found.add(load_spec(path).fingerprint)
    assert len(found) == 1


@pytest.mark.parametrize("key", ["num_views", "pixel_mm", "rotation_axis_column", "volume_shape"])
def test_every_number_matters(cases, key):
    document, arrays = cases["parallel_beam_2d"]
    value = document[key]
    changed = [n + 1 for n in value] if isinstance(value, list) else value + 1
    other = spec_from_document(document | {key: changed}, arrays)
    assert other.fingerprint != spec_from_document(document, arrays).fingerprint


def test_dtype_of_a_file_does_not_matter(cases):
    document, arrays = cases["inpainting_file"]
    same = {"mask_file": arrays["mask_file"].astype(np.float32)}
    one, other = (spec_from_document(document, a) for a in (arrays, same))
    assert one.fingerprint == other.fingerprint


def test_fingerprint_is_the_same_in_another_process(cases, write_spec):
    """Also guards the format: factor files carry fingerprints, so they must never change."""
    path = write_spec(*cases["deconvolution_file"])
    code = f"from normalfit.specs import load_spec; print(load_spec({str(path)!r}).fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == load_spec(path).fingerprint == GOLDEN


GOLDEN = "4d428343ca597d7674b520febf955b1248b9115d9fdb558d31a58c48c98dcbf0"


def test_python_fingerprint_covers_name_and_arguments(cases, tmp_path):
    document, _ = cases["python"]
    kept = spec_from_document(document, {}).fingerprint
    wider = document | {"arguments": {"shape": [3, 8], "width": 5}}
    assert spec_from_document(wider, {}).fingerprint != kept
    assert yaml.safe_load(yaml.safe_dump(document)) == document
    renamed = document | {"function": "mine:moving_average"}
    assert spec_from_document(renamed, {}).fingerprint != kept
