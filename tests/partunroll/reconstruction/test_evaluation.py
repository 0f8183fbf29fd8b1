"""evaluate: figures of every volume of a file, and of plain volumes."""

import math

import numpy as np
import pytest

from partunroll.errors import InputError
from partunroll.measurements.scan import INVERSE_CRIME
from partunroll.reconstruction.evaluation import evaluate
from partunroll.reconstruction.reconstruction_file import save_reconstruction

SHAPE = (12, 13, 14)


@pytest.fixture
def reference(tmp_path):
    rng = np.random.default_rng(1)
    np.save(tmp_path / "reference.npy", rng.random(SHAPE, dtype=np.float32))
    return tmp_path / "reference.npy"


def save(path, reference, facts):
    """Save volumes whose errors are 0.1, 0.01 and 0.001."""
    truth = np.load(reference)
    errors = {"initial_estimate": 0.1, "stage1": 0.01, "reconstruction": 0.001}
    save_reconstruction(path, {name: truth + e for name, e in errors.items()}, facts)
    return path


def test_every_volume_has_its_figures(reference, facts, tmp_path):
    result = evaluate(save(tmp_path / "r.zarr", reference, facts), reference, data_range=1.0)
    assert list(result.scores) == ["initial_estimate", "stage1", "reconstruction"]
    psnr = [scores.psnr for scores in result.scores.values()]
    assert psnr == pytest.approx([20, 40, 60], abs=0.01)
    assert "FDK, window hann" in str(result)
    assert "a note" in str(result)
    assert "data range 1 (given)" in str(result)


def test_stage_one_alone_is_shown_once(reference, facts, tmp_path):
    facts = facts.model_copy(update={"settings": {**facts.settings, "stages": 1}})
    result = evaluate(save(tmp_path / "r.zarr", reference, facts), reference)
    assert list(result.scores) == ["initial_estimate", "reconstruction"]


def test_an_inverse_crime_is_called_so(reference, facts, tmp_path):
    facts = facts.model_copy(update={"notes": [INVERSE_CRIME]})
    text = str(evaluate(save(tmp_path / "r.zarr", reference, facts), reference))
    assert text.count("inverse crime") == 1


def test_any_volume_can_be_evaluated(reference, tmp_path):
    np.save(tmp_path / "x.npy", np.load(reference) + np.float32(0.1))
    result = evaluate(tmp_path / "x.npy", reference, data_range=1.0, figure=tmp_path / "x.png")
    assert result.scores["reconstruction"].psnr == pytest.approx(20, abs=0.01)
    assert (tmp_path / "x.png").exists()


def test_thin_volumes_have_no_ssim(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(10, 20, dtype=np.float32))
    result = evaluate(tmp_path / "x.npy", tmp_path / "x.npy")
    assert math.isnan(result.scores["reconstruction"].ssim)
    assert "no SSIM: (10, 20) is thinner than its window" in str(result)


def test_an_existing_figure_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "x.png").write_text("precious")
    with pytest.raises(ValueError, match="output must not exist yet"):
        evaluate(tmp_path / "missing", tmp_path / "missing", figure=tmp_path / "x.png")


def test_other_shapes_are_refused_naming_both(reference, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((12, 13, 15), np.float32))
    with pytest.raises(InputError, match=r"\(12, 13, 14\), got \(12, 13, 15\)"):
        evaluate(tmp_path / "x.npy", reference)
