"""Factors of another fingerprint, grid, voxel size or norm are refused, or allowed and recorded."""

import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch

from normalfit.factor_file import FactorMetadata, open_factors, save_factors
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.specs import spec_from_document
from normalfit.spectral_norm import SpectralNorm
from partunroll.errors import MismatchError
from partunroll.network.checkpoint import load_checkpoint
from partunroll.training.patch_training import train
from partunroll.training.run_log import read_log
from partunroll.training.training_operator import match_factor_files

SHAPE = (20, 22)
FINGERPRINT = "ab" * 32
CHANGES: dict[str, dict[str, Any]] = {
    "fingerprint": {"fingerprint": FINGERPRINT},
    "voxel size": {"voxel_mm": (0.5, 0.6)},
    "grid": {"shape": (20, 24)},
    "norm": {"norm": 0.8},
}
GOT = {"fingerprint": "abababababab", "voxel size": "0.5 × 0.6", "grid": "20 × 24", "norm": "0.8"}


def save(path, spec, *, shape=SHAPE, norm=0.9, voxel_mm=(0.5, 0.5), fingerprint=None):
    """A factor file without its operator, so that every one of its facts can differ alone."""
    kernel = torch.full((1, 3, 3), 0.05)
    kernel[0, 1, 1] = 0.5
    found = SpectralNorm(norm, converged=True, iterations=1)
    said = fingerprint or spec.fingerprint
    metadata = FactorMetadata(None, said, found, 0.0, voxel_mm=voxel_mm)
    factors = Factors(LagKernel(kernel, shape, ("linear",) * 2))
    save_factors(path, factors, metadata)
    return path


def blur(std):
    document = {"kind": "deconvolution", "volume_shape": list(SHAPE), "voxel_mm": 0.5}
    return spec_from_document({**document, "gaussian_std_voxels": std}, {})


@pytest.fixture(scope="module")
def spec():
    return blur(0.5)


@pytest.mark.parametrize("name", ["fingerprint", "voxel size", "grid"])
def test_what_differs_from_the_data_is_refused_with_both_values_and_files(spec, tmp_path, name):
    path = save(tmp_path / "f.zarr", spec, **CHANGES[name])
    with pytest.raises(MismatchError) as error:
        match_factor_files({"blur": spec}, [path], data="data.zarr")
    message = str(error.value)
    wanted = {"fingerprint": spec.fingerprint[:12], "voxel size": "0.5 × 0.5", "grid": "20 × 22"}
    assert message.startswith(
        f"{name} of the factors must be the one of operator blur of the data, {wanted[name]} in "
        f"data.zarr, got {GOT[name]} in {path}; give the factors of this operator"
    )
    assert ("--allow-mismatch" in message) == (name != "grid")
    assert message.count("must be the one") == 1


@pytest.mark.parametrize("name", ["fingerprint", "voxel size"])
def test_what_differs_from_the_data_is_allowed_and_told(spec, tmp_path, name):
    path = save(tmp_path / "f.zarr", spec, **CHANGES[name])
    (found,) = match_factor_files({"blur": spec}, [path], allow_mismatch=True)
    (note,) = found.notes
    assert note.startswith(f"{name} of the factors should be the one of operator blur of the data")
    assert GOT[name] in note


def test_another_grid_is_never_allowed(spec, tmp_path):
    changed = CHANGES["grid"] | CHANGES["voxel size"]
    path = save(tmp_path / "f.zarr", spec, **changed)
    with pytest.raises(MismatchError, match=r"grid .* 20 × 22 .*voxel size .*× 0\.6") as error:
        match_factor_files({"blur": spec}, [path], allow_mismatch=True)
    assert "--allow-mismatch" not in str(error.value)


def test_all_that_differs_is_told_at_once(tmp_path):
    specs = {"a": blur(0.5), "b": blur(1.0)}
    changed = CHANGES["voxel size"]
    paths = [save(tmp_path / f"{name}.zarr", spec, **changed) for name, spec in specs.items()]
    with pytest.raises(MismatchError, match=r"operator a of the data.*operator b of the data"):
        match_factor_files(specs, paths)


@pytest.mark.parametrize(("norm", "is_same"), [(0.9 * (1 + 5e-7), True), (0.9 * (1 + 3e-6), False)])
def test_norms_are_compared_with_the_run_to_one_in_a_million(spec, tmp_path, norm, is_same):
    path = save(tmp_path / "f.zarr", spec, norm=norm)
    ours = match_factor_files({"blur": spec}, [save(tmp_path / "old.zarr", spec)])[0]
    trained = replace_norm(ours)
    if is_same:
        (found,) = match_factor_files({"blur": spec}, [path], trained=trained)
        assert found.norm == 0.9  # in the units of the run to the last bit
        return
    with pytest.raises(MismatchError, match=r"norm .* run, 0\.9 in last\.pt, got 0\.9000027 in"):
        match_factor_files({"blur": spec}, [path], trained=trained, checkpoint="last.pt")


def replace_norm(operator):
    class Sample:
        operator, initial_method, initial_window = "blur", "fdk", "hann"

    return [replace(operator.trained_on([Sample]), norm=0.9)]


def test_voxels_without_a_size_are_not_compared(spec, tmp_path):
    path = save(tmp_path / "f.zarr", spec, voxel_mm=None)
    assert match_factor_files({"blur": spec}, [path])[0].notes == ()


@pytest.mark.parametrize("reverse", [False, True])
def test_files_of_other_fingerprints_are_paired_by_name(tmp_path, reverse):
    specs = {name: blur(std) for name, std in (("a", 0.5), ("b", 1.0), ("c", 1.5))}
    paths = [
        save(tmp_path / "right.zarr", specs["a"]),  # by fingerprint, whatever its name
        save(tmp_path / "b.zarr", blur(1.1), norm=0.7),
        save(tmp_path / "c.zarr", blur(1.6), norm=0.6),
    ]
    ordered = paths[::-1] if reverse else paths
    found = match_factor_files(specs, ordered, allow_mismatch=True)
    assert [operator.factors.path.name for operator in found] == ["right.zarr", "b.zarr", "c.zarr"]
    assert [len(operator.notes) for operator in found] == [0, 1, 1]


def test_the_last_two_are_paired_whatever_their_names(tmp_path):
    specs = {"a": blur(0.5), "b": blur(1.0)}
    paths = [save(tmp_path / "x.zarr", blur(1.1)), save(tmp_path / "a.zarr", specs["a"])]
    found = match_factor_files(specs, paths, allow_mismatch=True)
    assert [operator.factors.path.name for operator in found] == ["a.zarr", "x.zarr"]


def test_a_fingerprint_wins_over_a_name(tmp_path):
    specs = {"a": blur(0.5), "b": blur(1.0)}
    paths = [save(tmp_path / "b.zarr", specs["a"]), save(tmp_path / "a.zarr", specs["b"])]
    found = match_factor_files(specs, paths, allow_mismatch=True)
    assert [operator.factors.path.name for operator in found] == ["b.zarr", "a.zarr"]


@pytest.mark.parametrize("allow_mismatch", [False, True])
def test_files_that_cannot_be_paired_are_all_named(tmp_path, allow_mismatch):
    specs = {"a": blur(0.5), "b": blur(1.0)}
    paths = [save(tmp_path / f"{name}.zarr", blur(std)) for name, std in (("x", 1.1), ("y", 1.2))]
    with pytest.raises(MismatchError, match=r"a \(.*b \(.*x\.zarr.*y\.zarr.*name the files after"):
        match_factor_files(specs, paths, allow_mismatch=allow_mismatch)
    with pytest.raises(MismatchError, match=r"got .*x\.zarr"):  # a file too many is not ignored
        match_factor_files({}, paths[:1], allow_mismatch=allow_mismatch)


@pytest.fixture
def mixed(problem, tmp_path):
    """The first operator's factors, and others in the place of the second's."""
    others = save(tmp_path / "std2.zarr", problem.specs["std2"], fingerprint=FINGERPRINT, norm=0.7)
    return [problem.factors[0], others]


def test_what_was_allowed_is_recorded_with_the_run(problem, mixed, tmp_path):
    told: list[str] = []
    config = problem.config(steps=2, batch=1)
    run = tmp_path / "run"
    result = train(config, mixed, problem.data, run, allow_mismatch=True, say=told.append)
    (note,) = told
    assert "fingerprint of the factors should be the one of operator std2 of the data" in note
    assert note in result.notes
    assert f"# {note}" in (run / "config.yaml").read_text()
    assert [line["allowed"] for line in read_log(run / "log.jsonl") if "allowed" in line] == [told]
    std1, std2 = load_checkpoint(run / "last.pt").operators
    assert (std1.norm, std2.norm) == (0.9, 0.7)  # the factors' own
    assert std2.fingerprint == problem.specs["std2"].fingerprint  # what it will be used with


def test_a_run_is_resumed_in_its_own_units(problem, stopped, tmp_path):
    specs = problem.specs.items()
    factors = [save(tmp_path / f"{n}.zarr", s, norm=0.8, voxel_mm=None) for n, s in specs]
    with pytest.raises(MismatchError, match=r"norm .* in .*last\.pt, got 0\.8 in .*std1\.zarr"):
        train(None, factors, problem.data, stopped, resume=True)
    result = train(None, factors, problem.data, stopped, resume=True, allow_mismatch=True)
    assert result.stop_reason == "finished"
    assert len(result.notes) == 2
    assert {operator.norm for operator in load_checkpoint(stopped / "last.pt").operators} == {0.9}
    (line,) = [line for line in read_log(stopped / "log.jsonl") if "allowed" in line]
    assert line["step"] == 4


def test_factors_of_made_objects_may_be_renamed(problem, tmp_path):
    config = problem.config(steps=2, batch=1, made_objects={"train": 1, "validation": 1})
    train(config, problem.factors[:1], None, tmp_path / "run", stop_after=1)
    shutil.copytree(problem.factors[0], tmp_path / "renamed.zarr")
    factors = [tmp_path / "renamed.zarr"]
    assert open_factors(factors[0]).fingerprint == problem.specs["std1"].fingerprint
    assert train(None, factors, None, tmp_path / "run", resume=True).stop_reason == "finished"
