"""`validate --deep` sees every change of every file, and nothing else falls over it."""

import contextlib
import dataclasses
import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
import yaml

from normalfit.errors import FactorFileError
from normalfit.factor_file import load_factors, open_factors, save_factors, validate
from normalfit.factor_file.manifest import MANIFEST, write_manifest
from normalfit.factor_file.summary import summary
from normalfit.factors import Factors
from normalfit.specs import load_spec

FLIPS = 200
PLACES = [
    "zarr.json",
    MANIFEST,
    "kernel/zarr.json",
    "kernel/c/0/0/0",
    "u/zarr.json",
    "u/c/0/0/0",
    "v/c/1/0/0",
    "operator/zarr.json",
    "operator/mask_file/zarr.json",
    "operator/mask_file/c/0/0",
    "check/zarr.json",
    "check/probe/c/0/0",
    "check/response/zarr.json",
    "check/response/c/0/0",
]


@pytest.fixture
def path(tmp_path, make_factors, metadata):
    """Return a file that holds one of everything a file can hold."""
    np.save(tmp_path / "mask.npy", np.random.default_rng(0).random((6, 5)) < 0.5)
    document = {"kind": "inpainting", "volume_shape": [6, 5], "mask_file": "mask.npy"}
    (tmp_path / "op.yaml").write_text(yaml.safe_dump(document))
    spec = load_spec(tmp_path / "op.yaml")
    known = dataclasses.replace(metadata, spec=spec, fingerprint=spec.fingerprint, voxel_mm=None)
    save_factors(tmp_path / "f.zarr", make_factors((6, 5), terms=2, diagonals="uv"), known)
    return tmp_path / "f.zarr"


def places(problems):
    return {place for place, _ in problems}


def assert_reported_and_survived(path, place):
    """The damage is reported at its place, and inspect and fit see it or are not met by it."""
    problems = validate(path, deep=True).problems
    assert place in places(problems), problems
    for read in (lambda: summary(open_factors(path)), lambda: load_factors(path)):
        with contextlib.suppress(FactorFileError):
            read()


def test_a_sound_file_has_no_problem(path):
    for deep in (False, True):
        validation = validate(path, deep=deep)
        assert validation.is_sound
        assert "sound" in str(validation)
    assert validation.num_files == len(_files(path))
    assert validation.num_bytes == sum(file.stat().st_size for file in _files(path))


def test_every_kind_of_file_is_damaged_below(path):
    """Of several chunks, and of several arrays' metadata, one of each kind is."""
    alike = {"kernel/c/1/0/0": "kernel/c/0/0/0", "u/c/1/0/0": "u/c/0/0/0", "v/c/0/0/0": "v/c/1/0/0"}
    alike |= {"v/zarr.json": "u/zarr.json", "check/probe/zarr.json": "check/response/zarr.json"}
    names = {file.relative_to(path).as_posix() for file in _files(path)}
    assert {alike.get(name, name) for name in names} == set(PLACES)


def _files(path):
    return [file for file in path.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(place, marks=pytest.mark.slow) if place.endswith("/zarr.json") else place
        for place in PLACES
    ],
)
def test_every_flipped_bit_is_reported(path, place):
    file = path / place
    sound = file.read_bytes()
    bits = np.random.default_rng(list(place.encode())).integers(8 * len(sound), size=FLIPS)
    for bit in bits:
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        assert_reported_and_survived(path, place)
    file.write_bytes(sound)
    assert validate(path, deep=True).is_sound


@pytest.mark.parametrize("place", PLACES)
def test_every_truncation_and_deletion_is_reported(path, place):
    file = path / place
    sound = file.read_bytes()
    for kept in {0, 1, len(sound) // 2, len(sound) - 1}:
        file.write_bytes(sound[:kept])
        assert_reported_and_survived(path, place)
    file.unlink()
    assert_reported_and_survived(path, place)
    assert place in places(validate(path).problems)  # without reading an array, too


def test_every_problem_is_listed_with_its_place(path):
    (path / "u/c/0/0/0").unlink()
    (path / "kernel/c/0/0/0").write_bytes(b"")
    (path / "kernel/c/9").mkdir()
    (path / "kernel/c/9/9").write_bytes(b"x")
    text = (path / "v/zarr.json").read_text().replace('"fill_value": 0.0', '"fill_value": 1.0')
    (path / "v/zarr.json").write_text(text.replace('"little"', '"big"'))
    validation = validate(path)
    found = [
        (place, text) for place, text in validation.problems if place.startswith(("u", "k", "v"))
    ]
    assert [place for place, _ in found].count("v/zarr.json") == 2
    assert {"u/c/0/0/0", "kernel/c/0/0/0", "kernel/c/9/9", "v/zarr.json"} <= places(found)
    assert "\n  u/c/0/0/0: must exist, got none" in str(validation)
    assert {entry["place"] for entry in validation.as_json()["problems"]} == places(
        validation.problems
    )


def test_values_that_are_not_finite(path):
    _rewrite(path, "u", lambda values: np.where(values == values.max(), np.nan, values))
    assert places(validate(path, deep=True).problems) == {"u/c/0/0/0"} or (
        places(validate(path, deep=True).problems) == {"u/c/1/0/0"}
    )
    assert validate(path).is_sound  # what only reading can tell


def test_kernels_that_are_not_hermitian_though_the_header_says_so(path):
    document = json.loads((path / "zarr.json").read_text())
    assert document["attributes"]["hermitian"] is False
    document["attributes"]["hermitian"] = True
    (path / "zarr.json").write_text(json.dumps(document))
    write_manifest(path)
    ((place, text),) = validate(path, deep=True).problems
    assert place == "kernel"
    assert "must be Hermitian as the header says" in text


def test_kernels_that_are_hermitian_though_the_header_denies_it(tmp_path, make_factors, metadata):
    factors = make_factors((4, 5), diagonals="")
    both = factors.symmetrized().kernel.values
    kernel = dataclasses.replace(factors.kernel, values=both[:1] + both[1:])
    known = dataclasses.replace(metadata, voxel_mm=None)
    path = save_factors(tmp_path / "f.zarr", Factors(kernel), known).path
    text = (path / "zarr.json").read_text()
    assert '"hermitian": true' in text
    (path / "zarr.json").write_text(text.replace('"hermitian": true', '"hermitian": false'))
    write_manifest(path)
    ((place, problem),) = validate(path, deep=True).problems
    assert place == "kernel"
    assert "must be other than Hermitian as the header says" in problem


@pytest.mark.parametrize("ends", ["linear", "periodic"])
@pytest.mark.parametrize("shape", [(70, 5), (6, 67), (5, 4, 6)])
def test_hermitian_kernels_are_known_as_such(tmp_path, make_factors, metadata, ends, shape):
    factors = make_factors(shape, boundary=ends, dtype=torch.complex128, terms=2)
    hermitian = Factors(factors.symmetrized().kernel, None)
    averaged = type(hermitian.kernel)(
        hermitian.kernel.values[:2] + hermitian.kernel.values[2:], shape, hermitian.boundary
    )
    known = dataclasses.replace(metadata, voxel_mm=None)
    file = save_factors(tmp_path / "f.zarr", Factors(averaged), known)
    assert file.header.hermitian is True
    assert validate(file.path, deep=True).is_sound
    changed = averaged.values.clone()
    changed.view(-1)[-1] += 1e-3 * changed.abs().max()
    other = save_factors(
        tmp_path / "g.zarr", Factors(dataclasses.replace(averaged, values=changed)), known
    )
    assert other.header.hermitian is False


def test_a_check_vector_that_the_factors_do_not_give(path):
    _rewrite(path, "kernel", lambda values: values[..., ::-1])  # a reader with flipped axes
    ((place, text),) = validate(path, deep=True).problems
    assert place == "check/response"
    assert "got a relative deviation of" in text


def test_an_operator_that_is_not_the_fingerprints(path):
    _rewrite(path, "operator/mask_file", lambda values: ~values)
    ((place, text),) = validate(path, deep=True).problems
    assert place == "operator"
    assert "must have the fingerprint" in text


def test_a_link_is_no_file_of_ours(path):
    (path / "u/link").symlink_to("/etc")
    assert "u/link" in places(validate(path).problems)


def test_nothing_there(tmp_path):
    validation = validate(tmp_path / "none.zarr", deep=True)
    assert not validation.is_sound
    assert "got nothing there" in str(validation)


def test_sha256sum_checks_the_manifest(path):
    command = ["sha256sum", "--check", "--strict", MANIFEST]
    if shutil.which("sha256sum") is None:
        pytest.skip("needs sha256sum")
    done = subprocess.run(  # noqa: S603
        command, cwd=path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK") == len(_files(path)) - 1


def _rewrite(path, name, change):
    """Write an array anew, and the manifest, as a writer with a defect would."""
    import zarr

    array = zarr.open_array(path / name, mode="r+")
    array[...] = change(array[...])
    write_manifest(path)
