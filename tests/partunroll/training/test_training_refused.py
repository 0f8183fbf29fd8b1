"""Training refuses what does not belong together, and loses nothing."""

import json
import shutil
from typing import Any

import pytest
import torch

from normalfit.errors import BackendError, FactorFileError
from partunroll.errors import (
    CheckpointError,
    DataStoreError,
    InputError,
    MismatchError,
    NotFiniteError,
    TrainingError,
)
from partunroll.network.checkpoint import load_checkpoint
from partunroll.network.networks import UnrolledNetwork
from partunroll.store.data_store import DataStore, create_store
from partunroll.training.patch_training import train
from partunroll.training.run_log import read_log

SHORT: dict[str, Any] = {"steps": 8, "validation": {"every": 4}}


def weights(output, name="last.pt"):
    return load_checkpoint(output / name).weights


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_existing_output_is_refused_and_left_alone(problem, finished):
    before = files(finished.output)
    with pytest.raises(InputError, match="output must not exist"):
        problem.run(finished.output)
    assert files(finished.output) == before


def test_nothing_to_resume_is_refused(problem, tmp_path):
    with pytest.raises(InputError, match="resume"):
        problem.run(tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_another_config_is_refused_by_key(problem, stopped):
    before = files(stopped)
    with pytest.raises(InputError, match=r"learning_rate 0\.001, got learning_rate 0\.1;"):
        problem.resume(stopped, learning_rate=0.1)
    network = {"iterations": 3, "prior": {"widths": [2, 2, 2, 2]}}
    with pytest.raises(InputError, match=r"network\.iterations 2, got network\.iterations 3;"):
        problem.resume(stopped, network=network)
    assert files(stopped) == before


def test_operator_of_another_norm_is_refused(problem, stopped, tmp_path):
    for name, spec in problem.specs.items():
        problem.save_factors(tmp_path / f"{name}.zarr", spec, norm=0.8)
    changed = [tmp_path / "std1.zarr", tmp_path / "std2.zarr"]
    with pytest.raises(MismatchError, match=r"norm .* std1 .* 0\.9 in .*got 0\.8 in .*std1"):
        train(None, changed, problem.data, stopped, resume=True)


def test_other_data_are_refused(problem, stopped):
    with pytest.raises(InputError, match="data must be given"):
        train(None, problem.factors, None, stopped, resume=True)


def test_other_samples_are_refused(problem, tmp_path):
    config = problem.config(steps=6, made_objects={"train": 2, "validation": 1})
    train(config, problem.factors, None, tmp_path / "run", stop_after=3)
    with pytest.raises(InputError, match=r"made-0-0000-std1.*std1-0"):
        train(config, problem.factors, problem.data, tmp_path / "run", resume=True)


def test_factors_of_another_operator_are_refused_with_both_fingerprints(problem, tmp_path):
    other = problem.blur(3)
    problem.save_factors(tmp_path / "std3.zarr", other)
    with pytest.raises(MismatchError) as error:
        train(
            problem.config(),
            [problem.factors[0], tmp_path / "std3.zarr"],
            problem.data,
            tmp_path / "run",
        )
    for part in ("std2", problem.specs["std2"].fingerprint[:12], "std3", other.fingerprint[:12]):
        assert part in str(error.value)
    assert not (tmp_path / "run").exists()


def test_operator_without_factors_is_refused(problem, tmp_path):
    with pytest.raises(MismatchError, match="std2"):
        train(problem.config(), problem.factors[:1], problem.data, tmp_path / "run")


@pytest.mark.parametrize("count", [0, 2])
def test_no_factors_and_the_same_factors_twice_are_refused(problem, tmp_path, count):
    with pytest.raises(InputError, match="factors must"):
        train(problem.config(), problem.factors[:1] * count, problem.data, tmp_path / "run")


def test_corrupt_factors_are_refused(problem, tmp_path):
    shutil.copytree(problem.factors[0], tmp_path / "broken.zarr")
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    with pytest.raises(FactorFileError):
        train(problem.config(), [tmp_path / "broken.zarr"], None, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_patch_larger_than_the_volumes_is_refused(problem, tmp_path):
    config = problem.config().model_copy(update={"patch_shape": (12, 23)})
    with pytest.raises(InputError, match="patch_shape"):
        train(config, problem.factors, problem.data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there_is_refused(problem, tmp_path):
    with pytest.raises(BackendError, match="cuda"):
        problem.run(tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kept", [0, 0.7])
def test_truncated_checkpoint_is_refused(problem, stopped, kept):
    content = (stopped / "last.pt").read_bytes()
    (stopped / "last.pt").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        problem.resume(stopped)


def test_damaged_checkpoint_is_refused_with_the_newest_sound_one(problem, tmp_path):
    run, kept = tmp_path / "run", {"every": 2, "keep_last": 4}
    problem.run(run, checkpoints=kept, stop_after=7, **SHORT)
    for name in ("last.pt", "step-00000006.pt"):
        content = bytearray((run / name).read_bytes())
        (run / name).unlink()  # they may be one file
        (run / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"got .*last\.pt.*; put step-00000004\.pt in its"):
        problem.resume(run)
    (run / "step-00000004.pt").replace(run / "last.pt")
    assert problem.run(run, resume=True, checkpoints=kept, **SHORT).step == 8


def test_best_checkpoint_in_the_place_of_the_last_is_refused(problem, stopped):
    shutil.copy(stopped / "best.pt", stopped / "last.pt")
    with pytest.raises(CheckpointError, match="state of its training"):
        problem.resume(stopped)


def test_loss_that_is_not_finite_names_step_sample_and_patch(problem, stopped, monkeypatch):
    before = weights(stopped)

    def broken(network, *arguments):
        x = original(network, *arguments)
        calls.append(x)
        return x * torch.tensor([1.0, torch.nan])[:, None, None] if len(calls) == 3 else x

    calls, original = [], UnrolledNetwork.forward
    monkeypatch.setattr(UnrolledNetwork, "forward", broken)
    with pytest.raises(TrainingError, match=r"step 7 on sample std\d-\d at \(\d+, \d+\) \(patch"):
        problem.resume(stopped)
    assert equal(weights(stopped), before)
    assert all(json.dumps(line) for line in read_log(stopped / "log.jsonl"))


def test_steps_are_kept_when_a_validation_fails(problem, short, tmp_path):
    data = shutil.copytree(problem.data, tmp_path / "data.zarr")
    shutil.rmtree(data / "samples" / "std1-3" / "reference" / "c")  # a validation sample
    config = problem.config(**SHORT)
    with pytest.raises(DataStoreError, match="std1-3"):
        train(config, problem.factors, data, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "last.pt").step == 4
    shutil.copytree(problem.data, data, dirs_exist_ok=True)
    train(config, problem.factors, data, tmp_path / "run", resume=True)
    assert equal(weights(tmp_path / "run"), weights(short / "straight"))


def test_new_run_that_took_no_step_leaves_nothing(problem, tmp_path):
    data = shutil.copytree(problem.data, tmp_path / "data.zarr")
    for sample in (data / "samples").glob("std*"):
        shutil.rmtree(sample / "reference" / "c")
    with pytest.raises(DataStoreError):
        train(problem.config(**SHORT), problem.factors, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_run_whose_objects_cannot_be_made_leaves_nothing(problem, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        msg = "disk must have room"
        raise InputError(msg)

    monkeypatch.setattr("partunroll.training.run_directory.simulate", fail)
    with pytest.raises(InputError, match="disk must have room"):
        train(problem.config(**SHORT), problem.factors, None, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_run_on_data_is_not_resumed_on_made_objects(problem, stopped):
    (stopped / "last.pt").unlink()
    with pytest.raises(InputError, match="data must be given"):
        train(None, problem.factors, None, stopped, resume=True)


def test_other_data_of_the_same_names_are_refused(problem, stopped, tmp_path):
    with create_store(tmp_path / "data.zarr", problem.specs, {"seed": 7}) as writer:
        store = DataStore.open(problem.data)
        for sample in store.samples:
            arrays = {name: store.read(sample.id, name) for name in store.arrays(sample.id)}
            writer.add_sample(sample, arrays)
    with pytest.raises(InputError, match="got others with samples of the same names"):
        train(None, problem.factors, tmp_path / "data.zarr", stopped, resume=True)


def test_initial_estimates_of_several_kinds_are_refused(problem, tmp_path):
    store = DataStore.open(problem.data)
    with create_store(tmp_path / "data.zarr", problem.specs, {}) as writer:
        for sample in store.samples:
            arrays = {name: store.read(sample.id, name) for name in store.arrays(sample.id)}
            odd = {"initial_method": "fdk", "initial_window": "hann"}
            changed = sample.model_copy(update=odd if sample.id == "std2-1" else {})
            writer.add_sample(changed, arrays)
    with pytest.raises(InputError, match="samples of operator std2 must have initial estimates"):
        train(problem.config(), problem.factors, tmp_path / "data.zarr", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validations_that_diverge_end_no_run_and_are_told(problem, tmp_path, monkeypatch):
    """Resumed, such a run would diverge in the same validation again, for ever."""

    def diverging(*arguments, **options):
        msg = "reconstruction must be finite"
        raise NotFiniteError(msg)

    monkeypatch.setattr("partunroll.training.validation.reconstruct", diverging)
    result = problem.run(tmp_path / "run", **SHORT)
    assert (result.step, result.stop_reason) == (8, "finished")
    assert any("no best.pt" in note for note in result.notes)
    assert not (tmp_path / "run" / "best.pt").exists()
    found = [x["validation"] for x in read_log(tmp_path / "run" / "log.jsonl") if "validation" in x]
    assert [line["psnr"] for line in found] == [None, None]
    assert all(line["psnr_initial"] > 0 for line in found)
