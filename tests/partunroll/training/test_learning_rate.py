"""The learning rate rises, then follows its schedule; nothing but the step decides it."""

import pytest
import torch

from partunroll.configuration.losses import patch_losses
from partunroll.configuration.train_config import TrainConfig, load_config
from partunroll.errors import InputError
from partunroll.training.learning_rate import decay, learning_rate


def config(schedule, **values):
    return TrainConfig.model_validate(
        {"steps": 100, "learning_rate": 0.1, "warmup_steps": 0, "schedule": schedule, **values}
    )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [1, 0.5, 0]),
        ({"final": 0.2}, [1, 0.6, 0.2]),  # cosine
        ({"kind": "linear", "final": 0.1}, [1, 0.55, 0.1]),
        ("constant", [1, 1, 1]),
        ({"kind": "step", "every": 30, "factor": 0.1}, [1, 0.1, 0.001]),
    ],
)
def test_schedules_go_where_they_say(schedule, expected):
    made = config(schedule).schedule
    assert [decay(made, step, 100) for step in (0, 50, 100)] == pytest.approx(expected)


def test_steps_down_come_at_once():
    made = config({"kind": "step", "every": 30}).schedule
    assert [decay(made, step, 100) for step in (29, 30, 59, 60)] == [1, 0.5, 0.5, 0.25]


def test_warmup_rises_to_the_schedule():
    rates = [learning_rate(config("constant", warmup_steps=4), step) for step in range(6)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


@pytest.mark.parametrize(
    "schedule", ["'triangle'", "{kind: step}", "{kind: constant, final: 0}", "{final: 2}"]
)
def test_schedules_that_do_not_exist_are_refused(tmp_path, schedule):
    (tmp_path / "train.yaml").write_text(f"schedule: {schedule}")
    with pytest.raises(InputError, match="schedule"):
        load_config(tmp_path / "train.yaml")


@pytest.mark.parametrize(
    ("kind", "expected"), [("mse", [12.5, 0]), ("l1", [2.5, 0]), ("charbonnier", [2.4995, 0])]
)
def test_losses_are_means_over_each_patch(kind, expected):
    x = torch.tensor([[[3 + 4j, 0]], [[1j, 2]]])
    truth = torch.tensor([[[0, 0]], [[1j, 2]]])
    assert patch_losses(kind, x, truth).tolist() == pytest.approx(expected, abs=1e-4)
