"""Training repeats and resumes bit for bit, learns, and refuses what does not belong together."""

import json
import shutil
from typing import Any

import pytest
import torch

from normalfit.errors import BackendError, FactorFileError
from normalfit.fit_to_file import fit_to_file
from normalfit.specs import spec_from_document
from partunroll.checkpoint import load_checkpoint
from partunroll.config import TrainConfig, load_config
from partunroll.data_store import DataStore, create_store
from partunroll.errors import (
    CheckpointError,
    DataStoreError,
    InputError,
    MismatchError,
    TrainingError,
)
from partunroll.network import UnrolledNetwork
from partunroll.run_log import RunLog, read_log
from partunroll.training import train

SHORT: dict[str, Any] = {"steps": 8, "validation": {"every": 4}}


def run(problem, output, *, resume=False, stop_after=None, **values):
    config = problem.config(**{"validation": {"every": 20}, **values})
    return train(
        config, problem.factors, problem.data, output, resume=resume, stop_after=stop_after
    )


@pytest.fixture(scope="module")
def finished(problem, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "finished"
    return run(problem, output)


@pytest.fixture(scope="module")
def short(problem, tmp_path_factory):
    """A run of 8 steps, and the same run stopped after 4."""
    folder = tmp_path_factory.mktemp("short")
    run(problem, folder / "straight", **SHORT)
    run(problem, folder / "stopped", **SHORT, stop_after=4)
    return folder


@pytest.fixture
def stopped(short, tmp_path):
    return shutil.copytree(short / "stopped", tmp_path / "run")


def resume(problem, output, **values):
    return run(problem, output, resume=True, **{**SHORT, **values})


def weights(output, name="last.pt"):
    return load_checkpoint(output / name).weights


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def timeless_log(output):
    lines = read_log(output / "log.jsonl")
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# repeatability


def test_same_seed_gives_the_same_weights_bit_for_bit(problem, finished, tmp_path):
    torch.manual_seed(1234)  # the global generator plays no part
    again = run(problem, tmp_path / "again")
    assert equal(weights(again.output), weights(finished.output))
    assert timeless_log(again.output) == timeless_log(finished.output)


def test_30_and_30_steps_are_60_steps(problem, finished, tmp_path):
    half = run(problem, tmp_path / "run", stop_after=30)
    assert (half.step, half.stop_reason) == (30, "stop_after")
    resumed = run(problem, tmp_path / "run", resume=True)
    assert (resumed.step, resumed.stop_reason) == (60, "finished")
    for name in ("last.pt", "best.pt"):
        assert equal(weights(resumed.output, name), weights(finished.output, name))
    assert timeless_log(resumed.output) == timeless_log(finished.output)
    assert resumed.best == finished.best


def test_another_seed_gives_other_weights(problem, short, tmp_path):
    other = run(problem, tmp_path / "other", **SHORT, seed=1)
    assert not equal(weights(other.output), weights(short / "straight"))


def test_run_that_was_killed_repeats_the_steps_after_its_checkpoint(problem, short, stopped):
    with RunLog(stopped / "log.jsonl", 4) as log:
        log.write(5, loss=1.0)
    with (stopped / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # cut off while it was written
    resume(problem, stopped)
    assert timeless_log(stopped) == timeless_log(short / "straight")


def test_run_that_was_killed_before_its_first_checkpoint_starts_again(problem, short, stopped):
    (stopped / "last.pt").unlink()
    resume(problem, stopped)
    assert equal(weights(stopped), weights(short / "straight"))


def test_volumes_in_batches_of_one_repeat_and_resume_bit_for_bit(tmp_path):
    document = {"kind": "deconvolution", "volume_shape": [9, 10, 11], "gaussian_std_voxels": 0.8}
    factors = tmp_path / "factors.zarr"
    fit_to_file(spec_from_document(document, {}), factors, probes=2)
    network = {"iterations": 2, "prior": {"widths": [2, 2, 2, 2]}}
    values = {"network": network, "patch_shape": 8, "batch": 1, "steps": 4, "device": "cpu"}
    made = {"train": 2, "validation": 1}
    config = TrainConfig.model_validate({**values, "made_objects": made})
    train(config, [factors], None, tmp_path / "straight")
    train(config, [factors], None, tmp_path / "run", stop_after=2)
    train(config, [factors], None, tmp_path / "run", resume=True)
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "straight"))


@pytest.mark.slow
def test_workers_change_nothing(problem, tmp_path):
    straight = run(problem, tmp_path / "straight", steps=3)
    workers = run(problem, tmp_path / "workers", steps=3, num_workers=1)
    assert equal(weights(workers.output), weights(straight.output))


def test_resumed_run_without_a_config_keeps_its_own(problem, short, stopped):
    train(None, problem.factors, problem.data, stopped, resume=True)
    assert equal(weights(stopped), weights(short / "straight"))


def test_resuming_a_finished_run_takes_no_step(problem, short, tmp_path):
    shutil.copytree(short / "straight", tmp_path / "run")
    result = resume(problem, tmp_path / "run")
    assert (result.step, result.loss) == (8, None)
    assert equal(weights(result.output), weights(short / "straight"))


# what a run does and leaves


@pytest.mark.parametrize("normal", ["factors", "exact"])
def test_training_improves_on_the_initial_estimate(problem, tmp_path, normal):
    values = {"learning_rate": 1e-2, "normal": normal, "patch_shape": [16, 16]}
    values["network"] = {"iterations": 2, "prior": {"widths": [4, 4, 4, 4]}}
    result = run(problem, tmp_path / "run", **values)
    assert result.best["psnr"] > result.best["psnr_initial"] + 1


def test_validated_stages_are_those_configured(problem, tmp_path):
    one, two = (
        run(problem, tmp_path / str(stages), steps=3, validation={"every": 3, "stages": stages})
        for stages in (1, 2)
    )
    assert equal(weights(one.output), weights(two.output))
    assert one.best["psnr_initial"] == two.best["psnr_initial"]
    assert one.best["psnr"] != two.best["psnr"]


def test_post_processing_trains_by_the_same_call(problem, tmp_path):
    network = {"kind": "post_processing", "prior": {"widths": [2, 2, 2, 2]}}
    result = run(problem, tmp_path / "run", network=network, steps=5)
    assert load_checkpoint(result.output / "best.pt").network.kind == "post_processing"
    assert all(line["step_sizes"] == [0] for line in steps_of(result.output))


def steps_of(output):
    return [line for line in read_log(output / "log.jsonl") if "loss" in line]


def test_learning_rate_rises_over_the_warmup_and_follows_a_cosine(finished):
    rates = [line["learning_rate"] for line in steps_of(finished.output)]
    assert len(rates) == 60
    assert rates[0] == pytest.approx(1e-3 / 20)
    assert rates[9] < rates[18] < 1e-3
    assert rates[30] == pytest.approx(0.5e-3)
    assert 0 < rates[-1] < 1e-5


def test_step_sizes_are_learned_and_logged(finished):
    sizes = [line["step_sizes"] for line in steps_of(finished.output)]
    assert all(len(line) == 2 and min(line) > 0 for line in sizes)
    assert sizes[0] != sizes[-1]


def test_log_holds_a_document_per_step_and_per_validation(finished):
    lines = read_log(finished.output / "log.jsonl")
    validations = [line["step"] for line in lines if "validation" in line]
    assert validations == [20, 40, 60]
    expected = {"step", "loss", "learning_rate", "gradient_norm", "step_sizes", "operator"}
    assert all(expected <= line.keys() for line in lines if "loss" in line)
    assert [line["step"] for line in steps_of(finished.output)] == list(range(1, 61))


def test_validation_reports_every_operator(finished):
    line = next(x for x in read_log(finished.output / "log.jsonl") if "validation" in x)
    each = [line["validation"][f"psnr_std{std}"] for std in (1, 2)]
    assert line["validation"]["psnr"] == pytest.approx(sum(each) / 2)


def test_checkpoint_says_what_it_was_trained_with(problem, finished):
    best = load_checkpoint(finished.output / "best.pt")
    assert [o.name for o in best.operators] == ["std1", "std2"]
    assert [o.fingerprint for o in best.operators] == [
        spec.fingerprint for spec in problem.specs.values()
    ]
    assert {o.norm for o in best.operators} == {0.9}
    assert {(o.initial_method, o.initial_window) for o in best.operators} == {
        ("least-squares", None)
    }
    assert best.normal == "factors"
    assert best.patch_shape == (12, 9)
    assert best.step == best.metrics["step"] == finished.best["step"]
    assert {"torch", "normalfit", "partunroll"} <= best.versions.keys()
    assert isinstance(best.build_network(), UnrolledNetwork)


def test_best_checkpoint_is_that_of_the_highest_psnr(finished):
    lines = [x for x in read_log(finished.output / "log.jsonl") if "validation" in x]
    best = max(lines, key=lambda line: line["validation"]["psnr"])
    assert load_checkpoint(finished.output / "best.pt").step == best["step"]


def test_saved_config_is_resolved_and_loads(problem, finished):
    path = finished.output / "config.yaml"
    assert load_config(path) == problem.config(validation={"every": 20})
    assert "torch" in path.read_text().splitlines()[0]


def test_no_partial_files_are_left(finished):
    assert sorted(path.name for path in finished.output.iterdir()) == [
        "best.pt",
        "config.yaml",
        "last.pt",
        "log.jsonl",
    ]


def test_made_objects_are_simulated_with_the_stored_operator(problem, tmp_path):
    made = {"train": 3, "validation": 1, "seed": 5, "relative_noise": 0.05}
    config = problem.config(steps=3, made_objects=made)
    train(config, problem.factors[:1], None, tmp_path / "run")
    store = DataStore.open(tmp_path / "run" / "data.zarr")
    assert store.fingerprints == {"std1": problem.specs["std1"].fingerprint}
    assert [sample.split for sample in store.samples] == ["train"] * 3 + ["validation"]
    noise = {"kind": "relative", "level": 0.05}
    assert all(sample.noise == noise for sample in store.samples)


def test_resumed_run_keeps_its_made_objects(problem, tmp_path):
    config = problem.config(steps=6, made_objects={"train": 2, "validation": 1})
    train(config, problem.factors[:1], None, tmp_path / "straight")
    train(config, problem.factors[:1], None, tmp_path / "run", stop_after=3)
    train(config, problem.factors[:1], None, tmp_path / "run", resume=True)
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "straight"))


# what is refused


def test_existing_output_is_refused_and_left_alone(problem, finished):
    before = files(finished.output)
    with pytest.raises(InputError, match="output must not exist"):
        run(problem, finished.output)
    assert files(finished.output) == before


def test_nothing_to_resume_is_refused(problem, tmp_path):
    with pytest.raises(InputError, match="resume"):
        run(problem, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_another_config_is_refused_by_key(problem, stopped):
    before = files(stopped)
    with pytest.raises(InputError, match=r"learning_rate 0\.001, got learning_rate 0\.1;"):
        resume(problem, stopped, learning_rate=0.1)
    network = {"iterations": 3, "prior": {"widths": [2, 2, 2, 2]}}
    with pytest.raises(InputError, match=r"network\.iterations 2, got network\.iterations 3;"):
        resume(problem, stopped, network=network)
    assert files(stopped) == before


def test_operator_of_another_norm_is_refused(problem, stopped, tmp_path):
    for name, spec in problem.specs.items():
        problem.save_factors(tmp_path / f"{name}.zarr", spec, norm=0.8)
    changed = [tmp_path / "std1.zarr", tmp_path / "std2.zarr"]
    with pytest.raises(MismatchError, match=r"norm 0\.9.*norm 0\.8"):
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
        run(problem, tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kept", [0, 0.7])
def test_truncated_checkpoint_is_refused(problem, stopped, kept):
    content = (stopped / "last.pt").read_bytes()
    (stopped / "last.pt").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        resume(problem, stopped)


def test_best_checkpoint_in_the_place_of_the_last_is_refused(problem, stopped):
    shutil.copy(stopped / "best.pt", stopped / "last.pt")
    with pytest.raises(CheckpointError, match="state of its training"):
        resume(problem, stopped)


def test_loss_that_is_not_finite_names_step_sample_and_patch(problem, stopped, monkeypatch):
    before = weights(stopped)

    def broken(network, *arguments):
        x = original(network, *arguments)
        calls.append(x)
        return x * torch.tensor([1.0, torch.nan])[:, None, None] if len(calls) == 3 else x

    calls, original = [], UnrolledNetwork.forward
    monkeypatch.setattr(UnrolledNetwork, "forward", broken)
    with pytest.raises(TrainingError, match=r"step 7 on sample std\d-\d at \(\d+, \d+\) \(patch"):
        resume(problem, stopped)
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

    monkeypatch.setattr("partunroll.run_directory.simulate", fail)
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


def test_gradients_are_clipped(problem, short, tmp_path):
    unclipped = run(problem, tmp_path / "unclipped", **SHORT, gradient_clip=None)
    assert max(line["gradient_norm"] for line in steps_of(unclipped.output)) > 3e-3
    assert not equal(weights(unclipped.output), weights(short / "straight"))


# the log


def test_log_keeps_the_steps_before_the_checkpoint(tmp_path):
    path = tmp_path / "log.jsonl"
    with RunLog(path) as log:
        for step in range(1, 6):
            log.write(step, loss=step / 2)
    with RunLog(path, 3) as log:
        log.write(4, loss=0.0)
    assert [line["step"] for line in read_log(path)] == [1, 2, 3, 4]
    assert read_log(path)[-1]["loss"] == 0
