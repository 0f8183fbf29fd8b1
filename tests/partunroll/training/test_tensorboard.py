"""TensorBoard shows the scalars and slices of a run."""

import importlib.util

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from normalfit.errors import BackendError
from partunroll.errors import InputError
from partunroll.training.run_log import read_log
from partunroll.training.tensorboard_log import TensorBoardLog
from partunroll.volumes.slice_images import slice_images

SHORT = {"steps": 4, "validation": {"every": 2}, "tensorboard": True}


def events(folder):
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()


def test_scalars_and_slices_are_logged(problem, tmp_path):
    result = problem.run(tmp_path / "run", **SHORT)
    shown = events(result.output / "tensorboard")
    lines = read_log(result.output / "log.jsonl")
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    found = [(event.step, event.value) for event in shown.Scalars("loss")]
    assert found == [(step, pytest.approx(loss)) for step, loss in losses]
    names = {"learning_rate", "gradient_norm", "step_sizes/2", "seconds", "validation/psnr"}
    assert names <= set(shown.Tags()["scalars"])
    assert [event.step for event in shown.Scalars("validation/psnr_std2")] == [2, 4]
    assert set(shown.Tags()["images"]) == {"slices/std1/z", "slices/std2/z"}
    images = shown.Images("slices/std1/z")
    assert [(image.step, image.height, image.width) for image in images] == [
        (2, 20, 3 * 22),
        (4, 20, 3 * 22),
    ]


def test_nothing_is_logged_for_it_without_request(finished):
    assert not (finished.output / "tensorboard").exists()


def test_resumed_run_replaces_the_steps_it_repeats(tmp_path):
    for first, last in ((1, 6), (4, 5)):  # killed after 6, resumed at 3
        log = TensorBoardLog(tmp_path, first - 1)
        for step in range(first, last + 1):
            log.write(step, loss=float(10 * first + step), operator="std1")
        log.close()
    shown = events(tmp_path).Scalars("loss")
    assert [(event.step, event.value) for event in shown] == [
        *[(1, 11), (2, 12), (3, 13)],
        *[(4, 44), (5, 45)],
    ]


def test_run_that_was_killed_before_its_first_checkpoint_replaces_all_steps(tmp_path):
    for value in (1.0, 2.0):
        log = TensorBoardLog(tmp_path / "tensorboard")
        log.write(1, loss=value)
        log.close()
    assert [event.value for event in events(tmp_path / "tensorboard").Scalars("loss")] == [2.0]


def test_missing_tensorboard_is_refused_before_anything_is_made(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"pip install 'partunroll\[tensorboard\]'"):
        problem.run(tmp_path / "run", **SHORT)
    assert not (tmp_path / "run").exists()


def test_slices_show_reconstruction_reference_and_error():
    reference = torch.zeros(6, 7, 8)
    reference[:, :, 4:] = 1
    reconstruction = reference.clone()
    reconstruction[3, 0, 0] = 1  # far too high
    reconstruction[3, 6, 7] = 0.875  # half of what is shown in full blue, too low
    images = slice_images(reconstruction, reference)
    assert {name: image.shape for name, image in images.items()} == {
        "z": (7, 24, 3),
        "y": (6, 24, 3),
        "x": (6, 21, 3),
    }
    z = images["z"]
    assert z.dtype == np.uint8
    assert z[1, [0, 7, 8, 15]].tolist() == [[0] * 3, [255] * 3, [0] * 3, [255] * 3]
    assert z[0, 16].tolist() == [255, 0, 0]
    assert z[6, 23].tolist() == [128, 128, 255]
    assert z[3, 20].tolist() == [255, 255, 255]


def test_complex_volumes_are_shown_by_their_magnitude():
    reference = torch.tensor([[0.0, 1.0], [0.5, 1.0]])
    phase = torch.exp(torch.tensor(1j))
    (name, image), *others = slice_images(phase * reference, reference * 1j).items()
    assert (name, others) == ("z", [])
    np.testing.assert_array_equal(image[:, :2], image[:, 2:4])
    assert (image[:, 4:] >= 254).all()


def test_volumes_of_different_shapes_are_refused():
    with pytest.raises(InputError, match=r"shape of the reference, \(3, 3\)"):
        slice_images(torch.zeros(3, 4), torch.zeros(3, 3))
