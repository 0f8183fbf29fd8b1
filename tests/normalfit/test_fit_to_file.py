"""fit_to_file: one call from a description to a factor file that says what happened."""

import pytest
import torch
from rich.progress import Progress

from normalfit.adjointness import adjointness
from normalfit.errors import BackendError, InputError
from normalfit.fit_to_file import fit_to_file
from normalfit.fitting import fit
from normalfit.specs import spec_from_document
from normalfit.spectral_norm import spectral_norm

DOCUMENT = {
    "kind": "deconvolution",
    "volume_shape": [9, 8],
    "voxel_mm": [0.5, 2.0],
    "gaussian_std_voxels": 1.0,
}


@pytest.fixture
def spec():
    return spec_from_document(DOCUMENT, {})


def test_the_file_holds_what_the_library_finds(tmp_path, spec):
    file = fit_to_file(spec, tmp_path / "f.zarr", terms=2, probes=4, seed=3, command="by hand")
    operator = spec.build()
    result = fit(operator, terms=2, probes=4, seed=3)
    loaded = file.load()
    assert torch.equal(loaded.kernel.values, result.factors.kernel.values)
    assert loaded.u is not None
    assert result.factors.u is not None
    assert torch.equal(loaded.u, result.factors.u)
    assert file.norm == spectral_norm(operator.normal, (9, 8), seed=3)
    assert file.header.adjointness == adjointness(operator, seed=3)
    assert file.header.report["grid_error"] == result.report.grid_error.as_json()
    assert file.header.report["patch_error"] == result.report.patch_error.as_json()
    assert file.header.voxel_mm == (0.5, 2.0)
    assert file.header.command == "by hand"
    assert file.fingerprint == spec.fingerprint


def test_progress_is_shown(tmp_path, spec):
    bars = Progress(disable=True)
    fit_to_file(spec, tmp_path / "f.zarr", probes=4, progress=bars)
    shown = [task.description.split()[0] for task in bars.tasks]
    assert {"training", "norm"} <= set(shown)
    assert all(task.completed <= task.total for task in bars.tasks if task.total is not None)


def test_nothing_is_computed_for_an_output_or_a_device_that_cannot_be(tmp_path, monkeypatch):
    class Unbuildable:
        def build(self):
            pytest.fail("built")

    spec = Unbuildable()
    (tmp_path / "f.zarr").mkdir()
    with pytest.raises(InputError, match="output must not exist yet"):
        fit_to_file(spec, tmp_path / "f.zarr")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="device must be present"):
        fit_to_file(spec, tmp_path / "g.zarr", device="cuda")
    assert not list((tmp_path / "f.zarr").iterdir())


def test_responses_in_the_way_of_the_file_are_refused_before_anything_is_computed(tmp_path, spec):
    with pytest.raises(InputError, match=r"responses must lie apart from the output .*f\.zarr"):
        fit_to_file(spec, tmp_path / "f.zarr", probes=4, responses=tmp_path / "f.zarr/responses")
    assert not list(tmp_path.iterdir())
