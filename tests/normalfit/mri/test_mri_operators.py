"""MRI operators against deepinv's and mri-nufft's, and their exact factors."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from normalfit.errors import InputError
from normalfit.fitting import fit
from normalfit.grid import Grid, Patch
from normalfit.mri.birdcage import birdcage_maps
from normalfit.mri.sampling_mask import sampling_mask
from normalfit.mri.trajectories import density_of, trajectory
from normalfit.operators.inpainting import Inpainting
from normalfit.operators.multicoil_mri import MulticoilMRI
from normalfit.operators.noncartesian_mri import NonCartesianMRI


def cartesian(shape=(6, 12, 11), hybrid_axis=None):
    drawn = sampling_mask(shape[-2:], "poisson-disc", 3, calibration=3)
    mask = torch.from_numpy(drawn).reshape(*[1] * (len(shape) - 2), *shape[-2:])
    return MulticoilMRI(Grid(shape), birdcage_maps(4, shape), mask, hybrid_axis=hybrid_axis)


def stack_of_stars(shape=(4, 12, 12), density="pipe"):
    samples = trajectory("stack-of-stars", shape, 9, 24)
    weights = density_of(samples, density, shape)
    return NonCartesianMRI(Grid(shape), birdcage_maps(3, shape), samples, weights)


def draw(shape, dtype=torch.complex64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(12, 11), (6, 12, 11)])
def test_cartesian_is_deepinvs_physics(shape):
    from deepinv.physics import MultiCoilMRI

    operator = cartesian(shape)
    mask = operator.mask.float().expand(shape)
    three = len(shape) == 3
    physics = MultiCoilMRI(
        mask=mask, coil_maps=operator.coil_maps[None], img_size=shape, three_d=three
    )
    x = draw((1, *shape))
    theirs = physics(torch.view_as_real(x).movedim(-1, 1))
    y = torch.view_as_complex(theirs.movedim(1, -1).contiguous())
    torch.testing.assert_close(operator.forward(x), y)
    back = physics.A_adjoint(theirs).movedim(1, -1).contiguous()
    torch.testing.assert_close(operator.adjoint(y), torch.view_as_complex(back))


@pytest.mark.parametrize("shape", [(12, 12), (4, 12, 12)])
@pytest.mark.filterwarnings("ignore:Samples will be rescaled:UserWarning")
def test_noncartesian_is_mri_nuffts_operator(shape):
    import mrinufft

    pattern = "radial" if len(shape) == 2 else "stack-of-stars"
    samples = trajectory(pattern, shape, 9, 24)
    maps = birdcage_maps(3, shape)
    operator = NonCartesianMRI(Grid(shape), maps, samples)
    theirs = mrinufft.get_operator("finufft")(
        samples.astype(np.float32), shape, n_coils=3, smaps=maps.numpy(), squeeze_dims=True
    )
    x = draw(shape)
    y = operator.forward(x)
    torch.testing.assert_close(y, torch.from_numpy(theirs.op(x.numpy())), rtol=1e-4, atol=1e-5)
    back = torch.from_numpy(theirs.adj_op(y.numpy()))
    torch.testing.assert_close(operator.adjoint(y), back, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("operator", "limit"),
    [(cartesian(), 1e-12), (cartesian(hybrid_axis=0), 1e-12), (stack_of_stars(), 1e-10)],
)
def test_exact_factors_are_the_normal_operator(operator, limit):
    x = draw(operator.domain.shape, torch.complex128)
    truth = operator.normal(x)
    found = operator.exact_factors(torch.complex128)(x)
    # birdcage maps are single precision
    assert float((found - truth).norm() / truth.norm()) < limit


def test_hybrid_factors_have_one_lag_along_the_axis():
    factors = cartesian(hybrid_axis=0).exact_factors()
    assert factors.lags == (1, 12, 11)
    assert factors.boundary == ("periodic",) * 3
    assert stack_of_stars().exact_factors().lags == (7, 23, 23)


@pytest.mark.parametrize("operator", [cartesian(), stack_of_stars()])
def test_direct_method_is_exact_with_all_coils_and_worsens_with_fewer(operator):
    results = {
        terms: fit(operator, method="direct", terms=terms, evaluation=4)
        for terms in (None, operator.num_coils - 1, 1)
    }
    errors = {terms: result.report.grid_error.value for terms, result in results.items()}
    assert errors[None] < 3e-6
    assert 1e-3 < errors[operator.num_coils - 1] < errors[1] < 1
    assert results[1].factors.terms == 1
    assert results[None].report.method == "direct"


def test_fits_take_the_boundary_and_the_lags_of_the_operator():
    found = fit(cartesian(hybrid_axis=0), model="multicoil", terms=1, probes=4, evaluation=4)
    assert found.factors.boundary == ("periodic",) * 3
    assert found.factors.lags == (1, 12, 11)
    linear = fit(cartesian((12, 11)), model="multicoil", probes=2, evaluation=2, boundary="linear")
    assert linear.factors.boundary == ("linear",) * 2


def test_operators_pickle_without_their_caches():
    for operator in (cartesian(), stack_of_stars()):
        x = draw(operator.domain.shape)
        y = operator.forward(x)
        copy = pickle.loads(pickle.dumps(operator))  # noqa: S301 - our own
        torch.testing.assert_close(copy.forward(x), y)


@pytest.mark.parametrize("operator", [cartesian(), stack_of_stars()])
def test_gradients_are_the_adjoint(operator):
    x = draw(operator.domain.shape, torch.complex128).requires_grad_()
    (0.5 * operator.forward(x).abs().square().sum()).backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, operator.normal(x.detach()))


def test_coil_images_are_the_zero_filled_ones():
    operator = cartesian()
    y = operator.forward(draw(operator.domain.shape))
    images = operator.coil_images(y)
    combined = (operator.coil_maps.conj() * images).sum(0)
    torch.testing.assert_close(combined, operator.adjoint(y))


@pytest.mark.parametrize("pattern", ["radial", "spiral"])
def test_pipe_density_makes_the_spread_even(pattern):
    samples = trajectory(pattern, (24, 24), 24, 48)

    def variation(density):
        weights = torch.tensor(density_of(samples, density, (24, 24)))
        operator = NonCartesianMRI(
            Grid((24, 24)), torch.ones(1, 24, 24, dtype=torch.complex128), samples
        )
        spread = operator.forward(operator.adjoint(weights[None].to(torch.complex128))).abs()
        return float(spread.std() / spread.mean())

    assert variation("pipe") < 0.6 * variation("none")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("hybrid_axis", [None, 0])
def test_cartesian_on_the_gpu_is_that_on_the_cpu(hybrid_axis):
    operator = cartesian(hybrid_axis=hybrid_axis)
    x = draw(operator.domain.shape)
    there = x.cuda()
    torch.testing.assert_close(operator.forward(there).cpu(), operator.forward(x))
    torch.testing.assert_close(operator.normal(there).cpu(), operator.normal(x))
    factors = operator.exact_factors()
    torch.testing.assert_close(factors.to("cuda")(there).cpu(), factors(x))
    patch = Patch((1, 2, 3), (4, 5, 6))
    x_p = patch.extract(x)
    found = operator.restricted(patch).normal(x_p.cuda()).cpu()
    torch.testing.assert_close(found, operator.restricted(patch).normal(x_p))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_noncartesian_on_the_gpu_is_that_on_the_cpu():
    pytest.importorskip("cufinufft")
    operator = stack_of_stars()
    x = draw(operator.domain.shape)
    found = operator.forward(x.cuda()).cpu()
    torch.testing.assert_close(found, operator.forward(x), rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_complex_fits_run_on_the_gpu():
    result = fit(cartesian(), model="multicoil", terms=2, probes=4, evaluation=4, device="cuda")
    assert result.factors.device.type == "cuda"
    assert result.report.grid_error.value < 0.5


@pytest.mark.slow
def test_the_weights_of_pipe_do_not_depend_on_threads():
    """They are part of a fingerprint: the same for every process and number of threads."""
    code = (
        "from normalfit.mri.trajectories import density_of, trajectory\n"
        "samples = trajectory('radial', (32, 32), 21, 64)\n"
        "print(density_of(samples, 'pipe', (32, 32)).tobytes().hex())"
    )
    found = {
        subprocess.run(  # noqa: S603 - our own code
            [sys.executable, "-c", code],
            env={**os.environ, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "4")
    }
    assert len(found) == 1


def test_a_patch_error_is_not_that_of_factors_against_themselves():
    report = fit(stack_of_stars(), method="direct", evaluation=4).report
    assert 0 < report.patch_error.value < 1e-5


MAPS = torch.ones(1, 4, 4, dtype=torch.complex64)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MulticoilMRI(Grid((4, 4)), MAPS.real, torch.ones(4, 4)), "complex of shape"),
        (lambda: MulticoilMRI(Grid((4, 4)), MAPS * torch.nan, torch.ones(4, 4)), "finite"),
        (lambda: MulticoilMRI(Grid((4, 4)), 0 * MAPS, torch.ones(4, 4)), "see something"),
        (lambda: MulticoilMRI(Grid((4, 4)), MAPS, torch.ones(4, 3)), "mask must be real"),
        (lambda: trajectory("spiral", (8, 8), 3, 1), "num_samples must be more"),
        (lambda: MulticoilMRI(Grid((4, 4)), MAPS, torch.zeros(4, 4)), "measure something"),
        (
            lambda: MulticoilMRI(Grid((4, 4)), MAPS, torch.ones(4, 4), hybrid_axis=0),
            "one point along the hybrid axis",
        ),
        (
            lambda: MulticoilMRI(Grid((4, 4)), MAPS, torch.ones(1, 4), hybrid_axis=2),
            "hybrid_axis must be one of 0, 1",
        ),
        (lambda: NonCartesianMRI(Grid((4, 4)), MAPS, np.ones((3, 2))), "within -0.5"),
        (lambda: NonCartesianMRI(Grid((4, 4)), MAPS, np.zeros((3, 3))), "shape"),
        (
            lambda: NonCartesianMRI(Grid((4, 4)), MAPS, np.zeros((3, 2)), np.ones(4)),
            "one value per sample",
        ),
        (
            lambda: NonCartesianMRI(Grid((4, 4)), MAPS, np.zeros((3, 2)), -np.ones(3)),
            "zero or more",
        ),
        (lambda: cartesian().forward(torch.ones(6, 12, 11)), "complex"),
        (lambda: fit(cartesian(), method="direct", model="two-sided"), "model multicoil"),
        (lambda: fit(cartesian(), method="direct", terms=5), "at most the 4 coils"),
        (lambda: fit(cartesian(), method="direct", probes=5), "probes must be left out"),
        (
            lambda: fit(Inpainting(Grid((4, 4)), torch.ones(4, 4)), method="direct"),
            "multicoil_mri or noncartesian_mri",
        ),
    ],
)
def test_bad_input_is_named(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("shape", [(4, 8, 6), (4, 9, 7)])
def test_hybrid_space_limits_the_lags_of_its_axis_only(shape):
    operator = cartesian(shape, hybrid_axis=0)
    few = {"terms": 1, "probes": 2, "held_out": 2, "evaluation": 2}
    for boundary, rest in (("periodic", shape[1:]), ("linear", [2 * n - 1 for n in shape[1:]])):
        factors = fit(operator, boundary=boundary, **few).factors
        assert tuple(factors.lags) == (1, *rest)
