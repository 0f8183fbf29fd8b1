"""The local phase, and priors that do not see it."""

import pytest
import torch

from partunroll.configuration.network_config import PriorConfig
from partunroll.errors import InputError
from partunroll.network.local_phase import local_phase
from partunroll.network.prior import DRUNetPrior

WIDTHS = (2, 2, 2, 2)


def noise(*shape, seed=0):
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(2, 90), (1, 16, 17), (3, 1, 15, 14), (1, 8, 9, 10)])
def test_a_smooth_phase_is_found_through_noise(shape):
    phase = torch.zeros(shape)
    for axis, n in enumerate(shape[1:], start=1):
        line = torch.linspace(0, 0.1 * n, n)
        phase = phase + line.reshape(-1, *[1] * (len(shape) - 1 - axis))
    truth = torch.polar(torch.ones(shape), phase)
    found = local_phase(3 * truth)
    torch.testing.assert_close(found.abs(), torch.ones(shape))
    assert (found * truth.conj()).angle().abs().max() < 0.15  # the ends see one side
    noisy = truth + 0.3 * noise(*shape)
    by_voxel, by_neighbours = (
        (estimate * truth.conj()).angle().abs().mean() for estimate in (noisy, local_phase(noisy))
    )
    assert by_neighbours < 0.8 * by_voxel


def test_images_of_zeros_have_no_phase():
    assert (local_phase(torch.zeros(1, 4, 4, dtype=torch.complex64)) == 1).all()


@pytest.mark.parametrize(("dim", "shape"), [(2, (1, 3, 8, 8)), (2, (2, 8, 8)), (3, (1, 8, 8, 8))])
def test_a_prior_that_demodulates_commutes_with_phases(dim, shape):
    torch.manual_seed(0)
    x, turn = noise(*shape), torch.polar(torch.tensor(1.0), torch.tensor(0.7))
    for demodulate in (True, False):
        config = PriorConfig(dim=dim, channels=2, widths=WIDTHS, demodulate=demodulate)
        prior = DRUNetPrior(config)
        with torch.no_grad():
            commutes = torch.allclose(prior(turn * x), turn * prior(x), atol=1e-5)
        assert commutes == demodulate


def test_gradients_reach_the_input():
    prior = DRUNetPrior(PriorConfig(dim=2, channels=2, widths=WIDTHS, demodulate=True))
    x = noise(1, 8, 8).requires_grad_()
    prior(x).abs().square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().min() > 0


def test_real_volumes_have_no_phase_to_take_out():
    with pytest.raises(InputError, match="demodulate must be left out for real volumes"):
        PriorConfig(demodulate=True).resolved((8, 8), (8, 8), is_complex=False)
