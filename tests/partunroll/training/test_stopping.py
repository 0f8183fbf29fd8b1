"""A run that is told to stop saves and says how it goes on; resumed, it is as if nothing were."""

import json
import os
import signal
import subprocess
import threading
from dataclasses import replace

import pytest
import torch

from partunroll.errors import CheckpointError, InputError, MismatchError
from partunroll.network import prior as priors
from partunroll.network.checkpoint import load_checkpoint, save_checkpoint
from partunroll.store.data_store import DataStore, create_store
from partunroll.training import patch_training as training
from partunroll.training.provenance import git_state
from partunroll.training.run_log import read_log
from partunroll.training.stop_signals import StopSignals
from partunroll.training.training_operator import match_factor_files
from partunroll.training.training_step import training_step
from partunroll.training.training_summary import summary
from partunroll.training.validation import validate

SHORT = {"steps": 8, "validation": {"every": 4}}
RICH = {**SHORT, "ema": 0.9, "accumulation": 2, "loss": "l1"}


class KilledError(Exception):
    """Stands for a kill: nothing in the code catches it."""


def equal_runs(first, second, names=("last.pt", "best.pt")):
    """Whether two runs hold the same: weights, training state, figures, log."""
    for name in names:
        one, other = (load_checkpoint(folder / name) for folder in (first, second))
        plain = [json.dumps(numbers(c.__dict__), sort_keys=True, default=str) for c in (one, other)]
        assert plain[0] == plain[1]
    assert timeless_log(first) == timeless_log(second)
    return True


def numbers(value):
    """Tensors as their numbers, to compare them bit for bit with everything else."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, dict):
        return {str(key): numbers(inner) for key, inner in value.items()}
    return [numbers(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def timeless_log(folder):
    lines = read_log(folder / "log.jsonl")
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


@pytest.fixture(scope="module")
def rich(problem, tmp_path_factory):
    return problem.run(tmp_path_factory.mktemp("rich") / "run", **RICH).output


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_signal_in_a_step_saves_after_it(problem, rich, tmp_path, monkeypatch, which):
    original, run = training_step, tmp_path / "run"

    def signalled(state, batches, *others):
        if state.step == 5:
            os.kill(os.getpid(), which)
        return original(state, batches, *others)

    before = signal.getsignal(which)
    monkeypatch.setattr(training, "training_step", signalled)
    result = problem.run(run, **RICH)
    assert signal.getsignal(which) is before
    assert (result.step, result.stop_reason) == (6, which.name)
    assert f"stopped by {which.name}" in summary(result)
    assert "--resume goes on from step 6" in summary(result)
    monkeypatch.undo()
    assert problem.run(run, resume=True, **RICH).stop_reason == "finished"
    assert equal_runs(run, rich)


def test_signal_in_a_validation_gives_it_up_and_the_resumed_run_makes_it(
    problem, rich, tmp_path, monkeypatch
):
    original, run = validate, tmp_path / "run"

    def signalled(*arguments):
        figures = original(*arguments)
        torch.rand(3)  # random numbers that a validation draws are not lost
        os.kill(os.getpid(), signal.SIGTERM)
        return figures

    monkeypatch.setattr(training, "validate", signalled)
    assert problem.run(run, **RICH).step == 4
    assert not (run / "best.pt").exists()
    monkeypatch.undo()
    problem.run(run, resume=True, **RICH)
    assert equal_runs(run, rich)


def test_kill_between_the_log_and_the_checkpoint_of_a_validation(
    problem, rich, tmp_path, monkeypatch
):
    def killed(state, path):
        raise KilledError

    run = tmp_path / "run"
    monkeypatch.setattr("partunroll.training.training_state.TrainingState.save_best", killed)
    with pytest.raises(KilledError):
        problem.run(run, **RICH)
    (run / "best.pt.partial").write_bytes(b"half")
    monkeypatch.undo()
    assert [x["step"] for x in read_log(run / "log.jsonl") if "validation" in x] == [4]
    problem.run(run, resume=True, **RICH)
    assert equal_runs(run, rich)
    assert not list(run.glob("*.partial"))


def test_second_ctrl_c_interrupts():
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signals_are_left_alone_outside_the_main_thread():
    def enter():
        with StopSignals() as signals:
            found.append(signals.received)

    found: list[str | None] = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [None]


def test_random_numbers_of_layers_go_on_where_they_were(problem, tmp_path, monkeypatch):
    def with_dropout(config):
        prior = original(config)
        prior.register_forward_hook(lambda m, i, x: torch.nn.functional.dropout(x, 0.1, m.training))
        return prior

    original = priors.DRUNetPrior
    monkeypatch.setattr("partunroll.network.networks.DRUNetPrior", with_dropout)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    problem.run(tmp_path / "straight", **SHORT)
    assert torch.equal(torch.rand(2), expected)  # the caller's are untouched
    problem.run(tmp_path / "run", stop_after=3, **SHORT)
    problem.run(tmp_path / "run", resume=True, **SHORT)
    assert equal_runs(tmp_path / "run", tmp_path / "straight")


def test_patience_ends_a_run_that_gets_no_better(problem, tmp_path, monkeypatch):
    figures = iter([20.0, 19.0, 21.0, 20.9, 21.0, 22.0])
    monkeypatch.setattr(
        training, "validate", lambda *_: {"psnr": next(figures), "psnr_initial": 18.0}
    )
    values = {"steps": 8, "validation": {"every": 1, "patience": 2}}
    result = problem.run(tmp_path / "run", **values)
    assert (result.step, result.stop_reason, result.best["step"]) == (5, "early_stop", 3)
    assert "patience" in summary(result)
    again = problem.run(tmp_path / "run", resume=True, **values)
    assert (again.step, again.loss, again.stop_reason) == (5, None, "early_stop")
    more = {**values, "validation": {"every": 1, "patience": 3}}
    monkeypatch.setattr(training, "validate", lambda *_: {"psnr": 20.0})
    assert problem.run(tmp_path / "run", resume=True, **more).step == 6  # the count was kept


def test_patience_without_validation_samples_is_refused(problem, tmp_path):
    store = DataStore.open(problem.data)
    with create_store(tmp_path / "data.zarr", problem.specs, {}) as writer:
        for sample in store.split("train"):
            arrays = {name: store.read(sample.id, name) for name in store.arrays(sample.id)}
            writer.add_sample(sample, arrays)
    config = problem.config(validation={"patience": 3})
    with pytest.raises(InputError, match=r"validation\.patience 3"):
        training.train(config, problem.factors, tmp_path / "data.zarr", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("keep", "steps"), [(1, []), (3, [4, 6])])
def test_newest_checkpoints_are_kept(problem, tmp_path, keep, steps):
    values = {"steps": 8, "validation": {"every": 8}}
    run = tmp_path / "run"
    problem.run(run, checkpoints={"every": 2, "keep_last": keep}, **values)
    assert [path.name for path in sorted(run.glob("step-*"))] == [f"step-{n:08d}.pt" for n in steps]
    assert [load_checkpoint(path).step for path in sorted(run.glob("step-*"))] == steps
    assert load_checkpoint(run / "last.pt").step == 8


def test_run_goes_on_from_a_checkpoint_that_was_kept(problem, tmp_path):
    run, kept = tmp_path / "run", {"every": 2, "keep_last": 3}
    straight = problem.run(tmp_path / "straight", checkpoints=kept, **SHORT).output
    problem.run(run, checkpoints=kept, stop_after=6, **SHORT)
    (run / "step-00000002.pt").replace(run / "last.pt")
    problem.run(run, resume=True, checkpoints=kept, **SHORT)
    assert equal_runs(run, straight)


def test_checkpoint_of_version_2_is_read_and_resumed(problem, short, stopped, monkeypatch):
    old = load_checkpoint(stopped / "last.pt")
    kept = {k: v for k, v in old.training.items() if k in ("optimizer", "best", "samples", "data")}
    monkeypatch.setattr("partunroll.network.checkpoint._VERSION", 2)
    save_checkpoint(stopped / "last.pt", replace(old, training=kept))
    monkeypatch.undo()
    assert problem.resume(stopped).step == 8
    weights = [load_checkpoint(f / "last.pt").weights for f in (stopped, short / "straight")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[1])


def test_average_that_is_not_in_the_checkpoint_is_refused(problem, rich, stopped):
    text = (stopped / "config.yaml").read_text().replace("ema: null", "ema: 0.9")
    (stopped / "config.yaml").write_text(text)
    with pytest.raises(CheckpointError, match="state of its training"):
        problem.resume(stopped, ema=0.9)


def test_factors_of_another_fit_are_refused(problem, stopped, tmp_path):
    for name, spec in problem.specs.items():
        problem.save_factors(tmp_path / f"{name}.zarr", spec)  # same operator, same norm
    with pytest.raises(MismatchError, match=r"factors of std1 must be those of the run"):
        training.train(None, sorted(tmp_path.glob("std*.zarr")), problem.data, stopped, resume=True)


@pytest.mark.parametrize(
    "values", [{"checkpointing": True}, {"checkpoints": {"keep_last": 1}}, {"num_workers": 0}]
)
def test_knobs_that_change_no_weight_may_change(problem, short, stopped, values):
    problem.resume(stopped, **values)
    weights = [load_checkpoint(f / "last.pt").weights for f in (stopped, short / "straight")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[1])


def test_best_is_the_averaged_network_and_last_is_not(rich):
    last, best = (load_checkpoint(rich / name) for name in ("last.pt", "best.pt"))
    average = last.training["average"]["weights"]
    assert best.step == last.step == 8
    assert all(torch.equal(best.weights[name], average[name]) for name in average)
    assert any(not torch.equal(last.weights[name], average[name]) for name in average)


def test_provenance_has_an_entry_for_every_call(problem, stopped):
    problem.resume(stopped)
    sessions = json.loads((stopped / "provenance.json").read_text())
    assert [entry["step"] for entry in sessions] == [0, 4]
    operators = match_factor_files(problem.specs, problem.factors)
    for entry in sessions:
        assert {"torch", "python", "partunroll"} <= entry["versions"].keys()
        kept = [(f["operator"], f["fingerprint"], f["digest"], f["norm"]) for f in entry["factors"]]
        assert kept == [
            (o.name, problem.specs[o.name].fingerprint, o.factor_digest, 0.9) for o in operators
        ]
        assert entry["data"] == DataStore.open(problem.data).digest


def test_git_state_is_commit_and_whether_files_have_changed(tmp_path):
    assert git_state(tmp_path) is None
    file = tmp_path / "code.py"
    file.write_text("x = 1\n")
    who = ["-c", "user.name=n", "-c", "user.email=e@x.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "code.py"], [*who, "commit", "-qm", "One"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)  # noqa: S603, S607
    clean = git_state(file)
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert not clean["dirty"]
    file.write_text("x = 2\n")
    assert git_state(tmp_path) == {**clean, "dirty": True}
    (tmp_path / "installed.py").write_text("")
    assert git_state(tmp_path / "installed.py") is None  # not of the repository it lies in


def test_broken_provenance_is_refused_and_left_alone(problem, stopped):
    (stopped / "provenance.json").write_text("[{")
    with pytest.raises(InputError, match=r"provenance\.json must be a JSON list, got .*; move it"):
        problem.resume(stopped)
    assert (stopped / "provenance.json").read_text() == "[{"
