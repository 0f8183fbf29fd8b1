"""A job does what its document says, goes on where it was, and leaves the reason of a failure."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from normalfit.fit_to_file import fit_to_file
from normalfit.specs import spec_from_document
from partunroll.comparison.job_runner import recorded
from partunroll.comparison.network_training import train_row
from partunroll.comparison.peak_memory import begin_peak_memory, peak_memory
from partunroll.comparison.recipe_row import ReconstructSection
from partunroll.comparison.row_job import FAILED, FINISHED, ReconstructJob, TrainJob
from partunroll.comparison.row_process import main
from partunroll.comparison.row_reconstruction import reconstruct_row
from partunroll.completed_parts import CompletedParts
from partunroll.configuration.train_config import TrainConfig
from partunroll.errors import MismatchError
from partunroll.measurements.noise import RelativeNoise
from partunroll.measurements.simulation import simulate
from partunroll.objects.object_sources import MadeObjects
from partunroll.store.data_store import DataStore
from partunroll.training.patch_training import train

SPEC = {
    "kind": "deconvolution",
    "volume_shape": [12, 12],
    "gaussian_std_voxels": 1.0,
    "boundary": "periodic",
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Data stores of a blur, for training and for the test, and its factors."""
    folder = tmp_path_factory.mktemp("stores")
    spec = spec_from_document(SPEC, {})
    noise = RelativeNoise(0.1)
    trained, tested = folder / "trained.zarr", folder / "tested.zarr"
    simulate({"blur": spec}, MadeObjects(3), trained, validation=1, noise=noise)
    simulate({"blur": spec}, MadeObjects(2, 1), tested, split="test", noise=noise)
    fit_to_file(spec, folder / "blur.zarr", probes=2, terms=1, device="cpu")
    return trained, tested, {"blur": folder / "blur.zarr"}


def read(folder, name=FINISHED):
    """Return a record that is there."""
    record = CompletedParts(folder).read(name)
    assert record is not None
    return record


@pytest.fixture
def job(stores, tmp_path):
    def made(method, candidates=(), **values):
        trained, tested, _ = stores
        return ReconstructJob(
            **{
                "folder": tmp_path,
                "row": "row",
                "seed": 0,
                "device": "cpu",
                "factors": {},
                "method": method,
                "candidates": dict(candidates),
                "checkpoint": None,
                "options": ReconstructSection(),
                "crop": None,
                "columns": {"Blur / 1": ("blur",)},
                "trained": trained,
                "tested": tested,
                **values,
            }
        )

    return made


@pytest.fixture
def training(stores, tmp_path):
    def made(seconds=None, **values):
        trained, _, factors = stores
        network = {"kind": "unrolled", "iterations": 2, "prior": {"widths": [2, 2, 2, 2]}}
        tiny = {"network": network, "patch_shape": 8, "batch": 1, "steps": 4, "device": "cpu"}
        return TrainJob(
            folder=tmp_path / "training",
            row="row",
            seed=0,
            device="cpu",
            factors=factors,
            config=TrainConfig.model_validate({**tiny, **values}),
            seconds=seconds,
            data=trained,
        )

    return made


def test_options_are_chosen_on_the_validation_samples(job, tmp_path):
    reconstruct_row(job({"kind": "cg"}, {"ridge": [10.0, 0.01]}))
    record = read(tmp_path)
    choice = record["choices"]["Blur / 1"]
    assert choice["method"] == {"kind": "cg", "ridge": 0.01}
    assert len(choice["tried"]) == 2
    assert set(record["seconds"]) == {"made-1-0000", "made-1-0001"}
    assert record["peak_bytes"] > 1e7


def test_options_are_chosen_by_the_central_part(job, stores, tmp_path, monkeypatch):
    (tmp_path / "my_bright_edges.py").write_text(
        "def of_side(A, y, *, side):\n"
        "    x = A.adjoint(y)\n"
        "    x[:side] = x[-side:] = x[:, :side] = x[:, -side:] = 1e4\n"
        "    return x * (1 if side < 3 else 0.9)\n"
    )
    monkeypatch.chdir(tmp_path)
    method = {"kind": "function", "function": "my_bright_edges:of_side"}
    candidates = {"options": [{"side": 2}, {"side": 3}]}
    reconstruct_row(job(method, candidates, crop=8))
    choice = read(tmp_path)["choices"]["Blur / 1"]
    figures = [tried["psnr"] for tried in choice["tried"]]
    assert figures[0] > 0 > figures[1]  # 8² of 12²: two voxels at every side are left out


OWN = """
import time

time.sleep(1.5)  # a slow import

def by_path(A, y, *, path):
    assert path.endswith("best.pt"), path
    return A.adjoint(y)
"""


def test_the_network_of_candidates_is_filled_in_and_imports_take_no_time(
    job, tmp_path, monkeypatch
):
    (tmp_path / "my_slow_module.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    method = {"kind": "function", "function": "my_slow_module:by_path"}
    options = {"path": "$NETWORK"}
    reconstruct_row(job({**method, "options": options}, checkpoint=tmp_path / "best.pt"))
    assert max(read(tmp_path)["seconds"].values()) < 1
    other = tmp_path / "chosen"
    other.mkdir()
    chosen = job(method, {"options": [options]}, folder=other, checkpoint=tmp_path / "best.pt")
    reconstruct_row(chosen)
    path = read(other)["choices"]["Blur / 1"]["method"]["options"]["path"]
    assert path == str(tmp_path / "best.pt")


def test_factors_of_another_operator_do_not_precondition_a_row(job, tmp_path):
    other = spec_from_document({**SPEC, "gaussian_std_voxels": 1.3}, {})
    fit_to_file(other, tmp_path / "other.zarr", probes=2, terms=1, device="cpu")
    with pytest.raises(MismatchError, match="factors must belong to the operator"):
        reconstruct_row(job({"kind": "cg", "factors": str(tmp_path / "other.zarr")}))


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux only")
def test_the_peak_begins_anew_after_choosing():
    device = torch.device("cpu")
    np.ones(2 * 10**8, np.uint8)
    peak = peak_memory(device)
    begin_peak_memory(device)
    assert peak_memory(device) < peak - 10**8
    np.ones(2 * 10**8, np.uint8)
    assert peak_memory(device) > peak - 10**8


def test_only_what_is_missing_is_made_again(job, stores, tmp_path):
    given = job({"kind": "cg"})
    reconstruct_row(given)
    first, second = (tmp_path / f"made-1-000{i}.npy" for i in range(2))
    truth, stamp = np.load(second), first.stat().st_mtime_ns
    assert recorded(given) is not None
    second.unlink()
    assert recorded(given) is None
    (tmp_path / f"{FINISHED}.json").unlink()
    reconstruct_row(given)
    assert first.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(np.load(second), truth)
    reference = DataStore.open(stores[1]).read("made-1-0001", "reference")
    assert np.abs(truth - reference).mean() < 0.2


def test_a_failure_leaves_its_reason(job, tmp_path, capfd):
    path = tmp_path / "job.json"
    path.write_text(job({"kind": "zero-filled"}).model_dump_json(), encoding="utf-8")
    assert main(path) == 1
    reason = json.loads((tmp_path / FAILED).read_text(encoding="utf-8"))["reason"]
    assert "zero-filled must be used with MRI" in reason
    assert CompletedParts(tmp_path).read(FINISHED) is None
    assert "Traceback" in capfd.readouterr().err


def test_a_training_goes_on_and_is_measured_whole(training, monkeypatch):
    given = training()
    stopped = {"stop_after": 2}
    patched = lambda *a, **k: train(*a, **k, **stopped)  # noqa: E731
    monkeypatch.setattr("partunroll.comparison.network_training.train", patched)
    assert train_row(given) == "stop_after"
    assert CompletedParts(given.folder).read(FINISHED) is None
    stopped.clear()
    assert train_row(given) is None
    record = read(given.folder)
    assert record["steps"] == record["steps_planned"] == 4
    assert record["wall_seconds"] > record["training_seconds"] > 0
    assert (given.folder / "session-1.json").exists()


def test_a_budget_of_seconds_becomes_steps_once(training):
    given = training(seconds=0.3)
    assert train_row(given) is None
    steps = read(given.folder, "steps")
    assert read(given.folder)["steps"] == steps["steps"] >= 10
    assert steps["steps"] == max(10, int(0.3 / steps["seconds_per_step"]))
    assert sorted(path.name for path in given.folder.iterdir() if path.is_dir()) == ["run"]


def test_a_signal_while_steps_are_counted_ends_the_row(training, monkeypatch):
    given = training(seconds=0.3)
    stopped = lambda *a, **k: replace(train(*a, **k), stop_reason="SIGTERM")  # noqa: E731
    monkeypatch.setattr("partunroll.comparison.network_training.train", stopped)
    assert train_row(given) == "SIGTERM"
    assert CompletedParts(given.folder).read("steps") is None
    assert not any(path.is_dir() for path in given.folder.iterdir())


def test_an_operator_of_the_test_alone_is_taken_with_its_own_norm(training, job, tmp_path):
    assert train_row(training()) is None
    spec = spec_from_document({**SPEC, "gaussian_std_voxels": 1.3}, {})
    simulate({"other": spec}, MadeObjects(1, 1), tmp_path / "other-data.zarr", split="test")
    fit_to_file(spec, tmp_path / "other.zarr", probes=2, terms=1, device="cpu")
    reconstruct_row(
        job(
            None,
            checkpoint=tmp_path / "training" / "run" / "best.pt",
            factors={"other": tmp_path / "other.zarr"},
            columns={"Other": ("other",)},
            tested=tmp_path / "other-data.zarr",
        )
    )
    assert np.isfinite(np.load(tmp_path / "made-1-0000.npy")).all()


def test_a_trained_network_reconstructs(training, job, stores, tmp_path):
    assert train_row(training()) is None
    results = {}
    for stages in (1, 2):
        folder = tmp_path / str(stages)
        folder.mkdir()
        reconstruct_row(
            job(
                None,
                folder=folder,
                checkpoint=tmp_path / "training" / "run" / "best.pt",
                factors=stores[2],
                options=ReconstructSection(stages=stages),
            )
        )
        results[stages] = np.load(folder / "made-1-0000.npy")
    assert results[1].shape == (12, 12)
    assert not np.array_equal(results[1], results[2])
