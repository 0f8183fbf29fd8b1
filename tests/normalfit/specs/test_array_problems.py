"""What a spec refuses in the array files it names, whatever their damage."""

import io
from contextlib import suppress

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tests.normalfit.specs.refusals import refusal

from normalfit.specs.array_file import read_array_file


def test_problems_of_files_are_listed_with_the_others(cases, write_spec):
    document = cases["cone_beam_vectors"][0] | {"voxel_mm": 0}
    message = refusal(write_spec(document))
    assert "cone_vec_file: must name a file that exists" in message
    assert "got 'orbit.npy'" in message
    assert "voxel_mm: must be greater than 0, got 0" in message


@pytest.mark.parametrize(
    ("case", "array", "problem"),
    [
        ("cone_beam_vectors", np.ones((3, 11)), "must hold one row of 12 numbers per view"),
        ("cone_beam_vectors", np.ones(12), "must hold one row of 12 numbers per view"),
        ("cone_beam_vectors", np.ones((0, 12)), "must hold numbers, not float64 of shape (0, 12)"),
        ("cone_beam_vectors", np.ones((3, 12)) * 1j, "must hold real numbers, not complex128"),
        (
            "cone_beam_vectors",
            np.where(np.arange(36).reshape(3, 12) == 14, np.nan, 1),
            "must hold finite numbers, has nan at index (1, 2), got 'orbit.npy'",
        ),
        ("parallel_beam_file", np.ones((2, 2)), "must hold one angle per view"),
        ("parallel_beam_file", np.array([0.0, np.inf]), "has inf at index (1,)"),
        ("deconvolution_file", np.ones(3), "kernel_file: must hold a kernel of 2 axes, got (3,)"),
        ("deconvolution_file", np.zeros((2, 2)), "must hold a kernel that is not 0 everywhere"),
        (
            "deconvolution_file",
            np.ones((2, 2)) * 1j,
            "kernel_file: must hold real numbers, not complex128, got 'kernel.npy'",
        ),
        ("inpainting_file", np.zeros((2, 3)), "must keep a sample, all are 0"),
        ("deconvolution_file", np.array([["a"]]), "kernel_file: must hold numbers, not <U1"),
        ("inpainting_file", np.ones((3, 2)), "mask_file: must hold a mask of the shape (2, 3)"),
        ("inpainting_file", np.full((2, 3), np.nan), "mask_file: must hold finite numbers"),
    ],
)
def test_array_files(cases, write_spec, case, array, problem):
    document, arrays = cases[case]
    assert problem in refusal(write_spec(document, dict.fromkeys(arrays, array)))


def npy_bytes():
    file = io.BytesIO()
    np.save(file, np.ones((3, 12)))
    return file.getvalue()


def npz_bytes():
    file = io.BytesIO()
    np.savez(file, np.ones((3, 12)))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", "1 2 3\n4 5\n", "line 2 has 2 numbers, the first row has 3"),
        ("a.csv", "# x\n1,2,x\n", "line 2 has 'x' where a number is expected"),
        ("a.txt", "", "not shape (0,)"),
        ("a.txt", b"\xff\xfe\x00", "must name a file that can be read"),
        ("a.npy", b"\x93NUMPY\x01\x00v\x00{'descr'", "must name an array file without faults"),
        ("a.npy", b"", "must name an array file without faults"),
        ("a.npy", b"PK\x03\x04" + bytes(40), "must name an array file without faults"),
        ("a.npy", npz_bytes(), "must name an array file without faults"),
        ("a.npy", npy_bytes().replace(b"'descr'", b"'d\x00scr'"), "without faults"),
        ("a.npy", npy_bytes().replace(b"'<f8'", b"'O88'"), "without faults"),
        ("a.npy", npy_bytes().replace(b"(3, 12)", b"(3,'2)"), "without faults"),
        ("a.npy", npy_bytes().replace(b"(3, 12)", b"((((((("), "without faults"),
        ("a.npy", npy_bytes()[:-8], "must name an array file without faults"),
        ("a.npy", b"cos\nsystem\n(S'true'\ntR.", "must name an array file without faults"),
        ("a.tif", b"", "must end in .npy, .txt, .csv or .geom, got 'a.tif'"),
    ],
)
def test_damaged_array_files(cases, write_spec, tmp_path, name, content, problem):
    path = write_spec(cases["cone_beam_vectors"][0] | {"cone_vec_file": name})
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert problem in refusal(path)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=st.integers(0, 127), replacement=st.binary(max_size=2))
def test_any_damage_to_an_npy_is_an_array_or_a_value_error(tmp_path, position, replacement):
    sound, path = npy_bytes(), tmp_path / "a.npy"
    path.write_bytes(sound[:position] + replacement + sound[position + 1 :])
    with suppress(ValueError, MemoryError):
        assert isinstance(read_array_file(path), np.ndarray)
