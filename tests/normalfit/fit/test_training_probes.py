"""Training sets: which probes are smooth, how strong they are, and what they are for."""

import pytest
import torch

from normalfit.energy import energy
from normalfit.errors import InputError
from normalfit.fitting import fit
from normalfit.grid import Grid
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry
from normalfit.probes import draw_probe
from normalfit.response_folder import ResponseFolder
from normalfit.training_probes import draw_smooth_probe, training_set

SHAPE = (6, 8)


def twice(x):
    return 2 * x


def is_smooth(w):
    """Tell by the energy between neighbours: twice the variance for white ones."""
    between = sum(float(w.diff(dim=axis).square().mean()) for axis in range(w.ndim)) / w.ndim
    return between < float(w.square().mean())


@pytest.mark.parametrize("smooth", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("count", [1, 4, 9])
def test_a_share_of_the_probes_is_smooth_and_they_answer_as_strongly(smooth, count):
    made = training_set(twice, (24, 24), count, smooth=smooth, seed=0)
    kinds = [is_smooth(w) for w in made.probes]
    assert kinds.count(True) == int(count * smooth)
    energies = [energy(response) for response in made.responses]
    white = [e for e, kind in zip(energies, kinds, strict=True) if not kind]
    for e, kind in zip(energies, kinds, strict=True):
        if kind:
            assert e == pytest.approx(sum(white) / len(white), rel=1e-4)
    for w, response in zip(made.probes, made.responses, strict=True):
        torch.testing.assert_close(response, 2 * w)


def test_white_probes_are_those_of_every_share():
    whites = [draw_probe(SHAPE, seed=3, stream="training", index=index) for index in range(3)]
    made = training_set(twice, SHAPE, 4, smooth=0.25, seed=3)
    for w, expected in zip(made.probes, whites, strict=False):
        assert torch.equal(w, expected)


def test_a_folder_keeps_them_and_a_larger_set_goes_on_with_them(tmp_path):
    applied = 0

    def counted(x):
        nonlocal applied
        applied += 1
        return 2 * x

    folder = ResponseFolder(tmp_path / "responses", "a" * 64)
    few = training_set(counted, SHAPE, 4, smooth=0.25, seed=0, folder=folder)
    assert applied == 4
    again = training_set(counted, SHAPE, 4, smooth=0.25, seed=0, folder=folder)
    assert applied == 4
    in_memory = training_set(twice, SHAPE, 4, smooth=0.25, seed=0)
    for sets in zip(few.responses, again.responses, in_memory.responses, strict=True):
        assert torch.equal(sets[0], sets[1])
        torch.testing.assert_close(sets[0], sets[2])
    more = training_set(counted, SHAPE, 8, smooth=0.25, seed=0, folder=folder)
    assert applied == 8
    assert len(more) == 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_their_amplitude_falls_as_one_over_the_frequency(dtype):
    shape, how = (32, 48), {"seed": 0, "stream": "smooth training", "dtype": dtype}
    spectra = [torch.fft.fft2(draw_smooth_probe(shape, index=i, **how)).abs() for i in range(200)]
    assert draw_smooth_probe(shape, index=0, **how).dtype == dtype
    amplitude = torch.stack(spectra).square().mean(0).sqrt()
    for k in (1, 2, 4, 8):  # along the long axis; a period of 48 voxels at k = 1
        assert float(amplitude[0, k] / amplitude[0, 2 * k]) == pytest.approx(2, rel=0.2)
    assert float(amplitude[0, 0] / amplitude[0, 1]) == pytest.approx(2, rel=0.2)
    assert float(amplitude.square().mean() / amplitude.numel()) == pytest.approx(1, rel=0.1)


def test_smooth_probes_that_an_operator_does_not_see_are_not_blown_up():
    def white_only(x):
        return 1e-7 * x if is_smooth(x) else x

    made = training_set(white_only, (24, 24), 4, smooth=0.5, seed=0)
    assert max(float(w.abs().max()) for w in made.probes) < 10


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(InputError, match=r"smooth_probes must be from 0 to below 1, got"):
        LeastSquaresOptions(smooth_probes=share)


def test_smooth_probes_lower_the_error_on_smooth_volumes():
    angles = torch.linspace(0, torch.pi, 13)[:-1].double().numpy()
    geometry = ParallelGeometry(angles_rad=angles, num_columns=36, column_mm=1.0)
    scan = ParallelBeam(Grid((24, 24), (1.0, 1.0)), geometry)
    errors = {}
    for share in (0.0, 0.25):
        options = LeastSquaresOptions(smooth_probes=share)
        B = fit(scan, terms=1, probes=32, evaluation=2, options=options).factors
        x = torch.stack([
            draw_smooth_probe((24, 24), seed=9, stream="fresh evaluation", index=i)
            for i in range(8)
        ])  # fmt: skip
        errors[share] = float((B(x) - scan.normal(x)).norm() / scan.normal(x).norm())
    assert errors[0.25] < 0.95 * errors[0.0]
