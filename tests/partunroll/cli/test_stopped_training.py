"""`partunroll train` that is told to stop ends well and says how it goes on."""

import json
import os
import signal

import pytest

from partunroll.network.checkpoint import load_checkpoint
from partunroll.training import patch_training as training
from partunroll.training.training_step import training_step


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_command_with_0_and_resume_goes_on(
    project, cli, tmp_path, monkeypatch, which
):
    original = training_step

    def signalled(state, batches, *others):
        if state.step == 1:
            os.kill(os.getpid(), which)
        return original(state, batches, *others)

    config, run = tmp_path / "train.yaml", tmp_path / "run"
    config.write_text(
        "network: {iterations: 1, prior: {widths: [2, 2, 2, 2]}}\nsteps: 4\npatch_shape: 16\n"
    )
    files = ["--factors", project / "factors.zarr", "--data", project / "data.zarr", "-o", run]
    monkeypatch.setattr(training, "training_step", signalled)
    code, out, err = cli("train", *files, "--config", config, "--json", tmp_path / "a.json")
    assert (code, err) == (0, "")
    assert f"stopped by {which.name}" in out
    assert "--resume goes on from step 2" in out
    assert json.loads((tmp_path / "a.json").read_text())["stop_reason"] == which.name
    assert load_checkpoint(run / "last.pt").step == 2
    monkeypatch.undo()
    code, out, _ = cli("train", *files, "--resume")
    assert code == 0
    assert "4 of 4 steps" in out


def test_weights_that_do_not_fit_end_with_one_line(project, refused, tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text(f"network: {{prior: {{weights: {project / 'best.pt'}}}}}\npatch_shape: 16\n")
    files = ["--factors", project / "factors.zarr", "--data", project / "data.zarr"]
    message = refused("train", *files, "--config", config, "-o", tmp_path / "run")
    assert "network.prior.weights must fit network.prior" in message
    assert not (tmp_path / "run").exists()
