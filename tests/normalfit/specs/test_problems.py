"""What a spec refuses: every problem at once, each with its key and value, on one line."""

from contextlib import suppress

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tests.normalfit.specs.refusals import refusal, refusal_of

from normalfit.errors import InputError
from normalfit.specs import spec_from_document


def test_every_problem_is_listed_with_its_place(write_spec):
    document = {
        "kind": "cone_beam",
        "volume_shape": [64, 0, 64.5],
        "voxel_mm": -1,
        "detector_shape": 5,
        "num_view": 3,
        "pixel_mm": "1",
        "source_origin_mm": float("nan"),
        "backend": "cuda",
    }
    path = write_spec(document)
    assert refusal(path).split("; ") == [
        f"{path}: {problem}"
        for problem in (
            "volume_shape.1: must be at least 1, got 0",
            "volume_shape.2: must be a whole number, got 64.5",
            "voxel_mm: must be greater than 0, got -1",
            "detector_shape: must be a list, got 5",
            "num_views: must be given unless cone_vec_file is, got nothing",
            "source_origin_mm: must be finite, got nan",
            "origin_detector_mm: must be given unless cone_vec_file is, got nothing",
            "pixel_mm: must be a number, got '1'",
            "backend: must be 'auto', 'astra' or 'numba', got 'cuda'",
            "num_view: must be a known key, perhaps num_views, got 3",
        )
    ]


@pytest.mark.parametrize("kind", ["cone", None, 3, ["cone_beam"]])
def test_kind_must_be_known(kind):
    got = "nothing" if kind is None else repr(kind)
    known = (
        "cone_beam, parallel_beam, deconvolution, inpainting, multicoil_mri, noncartesian_mri, "
        "python"
    )
    assert refusal_of({"kind": kind}) == f"stored operator: kind: must be one of {known}, got {got}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "operator file must be a mapping of keys to values, got an empty file"),
        ("[1, 2]", "operator file must be a mapping of keys to values, got a list"),
        ("text", "operator file must be a mapping of keys to values, got a str"),
        ("kind: python\na: 1\nb: 2\na: 3\n", "line 4: key 'a' must be given once"),
        ("{kind: python, a: 1, a: 2}", "line 1: key 'a' must be given once"),
        ("kind: [1\nb: 2\n", "line 2: expected ',' or ']'"),
        ("kind: a\n\tb: 2\n", "line 2: found character"),
        ("kind: a\n---\nkind: b\n", "line 2: but found another document"),
        ("kind: !!python/object/apply:os.getcwd []\n", "line 1: could not determine"),
        ("kind: 2024-13-45\n", "month must be in 1..12"),
        ("a: " + "[" * 1000, "recursion"),
    ],
)
def test_yaml_that_is_no_mapping(tmp_path, text, problem):
    path = tmp_path / "op.yaml"
    path.write_text(text)
    assert problem in refusal(path)


def test_missing_yaml_says_how_to_write_one(tmp_path):
    assert "normalfit template KIND > op.yaml" in refusal(tmp_path / "no.yaml")


def test_yaml_must_be_readable_text(tmp_path):
    assert "must be readable text" in refusal(tmp_path)
    (tmp_path / "op.yaml").write_bytes(b"kind: \xff\xfe")
    assert "must be readable text" in refusal(tmp_path / "op.yaml")


@pytest.mark.parametrize("key", ["num_views", "pixel_mm", "angle_start_deg", "angle_range_deg"])
def test_orbit_keys_and_vectors_exclude_each_other(cases, key):
    document, arrays = cases["cone_beam_vectors"]
    message = refusal_of(document | {key: 3}, arrays)
    assert message == f"stored operator: {key}: must not be given beside cone_vec_file, got 3"


@pytest.mark.parametrize(
    ("case", "key"),
    [
        ("parallel_beam_3d", "num_views"),
        ("parallel_beam_file", "angles_deg"),
        ("deconvolution_file", "gaussian_std_voxels"),
        ("inpainting_file", "kept_fraction"),
        ("inpainting_file", "seed"),
    ],
)
def test_alternatives_exclude_each_other(cases, case, key):
    document, arrays = cases[case]
    value = [1.0] if key == "angles_deg" else 1
    assert f"{key}: must not be given beside " in refusal_of(document | {key: value}, arrays)


@pytest.mark.parametrize(
    ("case", "key"),
    [
        ("cone_beam", "num_views"),
        ("cone_beam", "source_origin_mm"),
        ("parallel_beam_2d", "num_views"),
        ("deconvolution_gaussian", "gaussian_std_voxels"),
        ("inpainting_drawn", "kept_fraction"),
        ("cone_beam", "voxel_mm"),
        ("python", "function"),
    ],
)
def test_missing_key_is_named(cases, case, key):
    document, arrays = cases[case]
    left = {name: value for name, value in document.items() if name != key}
    assert f"{key}: must be given" in refusal_of(left, arrays)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"volume_shape": [2**14, 2**14, 2**14]}, "volume_shape: must have at most 2^40 samples"),
        ({"detector_shape": [2**20, 2**20]}, "detector_shape: must make at most 2^40 samples"),
        ({"volume_shape": [4, 4]}, "volume_shape.2: must be given, got nothing"),
        ({"num_views": True}, "num_views: must be a number, got True"),
        ({"num_views": 10**9}, "num_views: must be at most 1048576, got 1000000000"),
        ({"voxel_mm": [1, 2]}, "voxel_mm.2: must be given"),
        ({"pixel_mm": [1, 2, 3]}, "pixel_mm: must have at most 2 entries"),
        ({"angle_range_deg": float("inf")}, "angle_range_deg: must be finite, got inf"),
        ({"voxel_mm": 10**400}, "voxel_mm: must be a number, got 1000"),
        ({1: 2}, "1: must be text, got 1"),
    ],
)
def test_cone_beam_values(cases, values, problem):
    assert problem in refusal_of(cases["cone_beam"][0] | values)


@pytest.mark.parametrize(
    ("case", "values", "problem"),
    [
        ("parallel_beam_2d", {"volume_shape": [5]}, "volume_shape: must have at least 2 entries"),
        ("parallel_beam_2d", {"voxel_mm": [1, 1, 1]}, "voxel_mm: must be one value or 2"),
        ("parallel_beam_2d", {"num_columns": 2**40}, "num_columns: must make at most 2^40 samples"),
        ("parallel_beam_3d", {"angles_deg": []}, "angles_deg: must have at least 1 entries"),
        (
            "deconvolution_gaussian",
            {"boundary": "zero"},
            "boundary: must be 'periodic'",
        ),
        (
            "deconvolution_gaussian",
            {"gaussian_std_voxels": 0},
            "gaussian_std_voxels: must be gr",
        ),
        ("inpainting_drawn", {"kept_fraction": 1.5}, "kept_fraction: must be at most 1, got 1.5"),
        ("inpainting_drawn", {"seed": -1}, "seed: must be at least 0, got -1"),
        (
            "inpainting_drawn",
            {"volume_shape": [1] * 4},
            "volume_shape: must have at most 3",
        ),
        ("python", {"function": "a b"}, "function: must be module:function, got 'a b'"),
        ("python", {"function": "os:system"}, "os is one of Python's, got 'os:system'"),
        ("python", {"arguments": {"a": [float("nan")]}}, "arguments: must hold finite numbers"),
        ("python", {"arguments": {"a": 2**64}}, "arguments: must hold finite numbers"),
        ("inpainting_drawn", {"seed": 10**5000}, "seed: must be at most 9007199254740992"),
        ("python", {"arguments": [1]}, "arguments: must be a mapping of names to values"),
        ("python", {"arguments": {1: 2}}, "must be text, got 1"),
        ("python", {"arguments": {"a": {1, 2}}}, "arguments.a: input was not a valid JSON value"),
    ],
)
def test_values_of_the_other_kinds(cases, case, values, problem):
    assert problem in refusal_of(cases[case][0] | values, cases[case][1])


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=2), values),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.data())
def test_no_value_of_any_key_makes_anything_but_an_input_error(cases, data):
    document, arrays = cases[data.draw(st.sampled_from(sorted(cases)))]
    key = data.draw(st.sampled_from(sorted(document)) | st.text(max_size=3))
    with suppress(InputError):
        spec_from_document(document | {key: data.draw(ANY_VALUE)}, arrays)
