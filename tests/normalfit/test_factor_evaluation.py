"""evaluate_file measures on probes that neither a fit nor its report has seen."""

import pytest
import torch

from normalfit.errors import InputError
from normalfit.factor_evaluation import evaluate_file
from normalfit.fit_to_file import fit_to_file
from normalfit.operators.inpainting import Inpainting
from normalfit.probes import draw_probe
from normalfit.specs import spec_from_document

SHAPE = (6, 5)
DOCUMENT = {"kind": "inpainting", "volume_shape": list(SHAPE), "kept_fraction": 0.7}


@pytest.fixture
def spec():
    return spec_from_document(DOCUMENT, {})


@pytest.fixture
def seen(monkeypatch):
    """Return what operators are applied to: whole grids, and patches."""
    images = []
    forward = Inpainting.forward

    def recorded(self, x):
        images.append(x.clone())
        return forward(self, x)

    monkeypatch.setattr(Inpainting, "forward", recorded)
    return images


def test_its_probes_are_not_those_of_the_fit(tmp_path, spec, seen):
    file = fit_to_file(spec, tmp_path / "f.zarr", probes=8)
    of_fit = list(seen)
    seen.clear()
    evaluate_file(file, spec, probes=16)
    assert {tuple(x.shape) for x in seen} == {(6, 5), (3, 3)}
    assert len(seen) == 32
    assert not any(torch.equal(a, b) for a in seen for b in of_fit)


@pytest.mark.parametrize("stream", ["training", "held-out", "evaluation"])
def test_its_probes_are_of_a_stream_of_their_own(tmp_path, spec, seen, stream):
    file = fit_to_file(spec, tmp_path / "f.zarr", probes=2, seed=4)
    seen.clear()
    evaluate_file(file, spec, probes=8, seed=4)
    drawn = [draw_probe(SHAPE, seed=4, stream=stream, index=index) for index in range(32)]
    assert not any(torch.equal(a, b) for a in seen for b in drawn)


@pytest.mark.parametrize("patch", ["9" * 5000, "²", "3,9999999999", ""])
def test_a_patch_that_is_no_size_of_the_grid_is_refused(tmp_path, spec, patch):
    file = fit_to_file(spec, tmp_path / "f.zarr", probes=2)
    with pytest.raises(InputError, match="patch must be N, or one number per axis") as caught:
        evaluate_file(file, spec, patch=patch)
    assert len(str(caught.value)) < 200
