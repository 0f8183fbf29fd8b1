"""The mask: what it keeps, its restriction, and what it refuses."""

import pytest
import torch

from normalfit.errors import InputError
from normalfit.grid import Grid, Patch
from normalfit.operators.inpainting import Inpainting

GRID = Grid((4, 5, 6), (1.0, 2.0, 3.0))
PATCH = Patch((1, 0, 2), (2, 5, 3))


def drawn_mask():
    return torch.rand(GRID.shape, generator=torch.Generator().manual_seed(0)) < 0.5


def test_forward_and_adjoint_keep_the_masked_samples():
    mask = drawn_mask()
    operator = Inpainting(GRID, mask)
    x = torch.rand(2, *GRID.shape) + 1
    for y in (operator.forward(x), operator.adjoint(x), operator.normal(x)):
        assert torch.equal(y[:, mask], x[:, mask])
        assert not y[:, ~mask].any()


def test_weights_act_twice_in_the_normal_operator():
    operator = Inpainting(GRID, torch.full(GRID.shape, 0.5))
    x = torch.rand(GRID.shape)
    torch.testing.assert_close(operator.normal(x), 0.25 * x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("weights", [torch.bool, torch.float32, torch.float64])
def test_dtype_of_the_images_is_kept(weights, dtype):
    operator = Inpainting(GRID, drawn_mask().to(weights))
    assert operator.forward(torch.ones(GRID.shape, dtype=dtype)).dtype == dtype


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_equals_cpu():
    operator = Inpainting(GRID, drawn_mask())
    x = torch.rand(GRID.shape)
    assert torch.equal(operator.forward(x.cuda()).cpu(), operator.forward(x))
    assert torch.equal(
        operator.restricted(PATCH).adjoint(PATCH.extract(x).cuda()).cpu(),
        operator.restricted(PATCH).adjoint(PATCH.extract(x)),
    )


def test_restricted_is_the_mask_on_the_patch():
    operator = Inpainting(GRID, drawn_mask())
    restricted = operator.restricted(PATCH)
    x = torch.rand(PATCH.shape)
    truth = PATCH.extract(operator.normal(PATCH.embed(x, GRID.shape)))
    assert torch.equal(restricted.normal(x), truth)
    assert restricted.domain == restricted.range == Grid(PATCH.shape, GRID.voxel_mm)


def test_restricted_mask_owns_only_its_patch():
    mask = Inpainting(GRID, drawn_mask()).restricted(PATCH).mask
    assert mask.untyped_storage().nbytes() == mask.numel()


def test_restricted_refuses_a_patch_outside():
    with pytest.raises(InputError, match="inside the grid"):
        Inpainting(GRID, drawn_mask()).restricted(Patch((3, 0, 0), (2, 2, 2)))


@pytest.mark.parametrize("mask", [torch.ones(4, 5), torch.ones(GRID.shape, dtype=torch.complex64)])
def test_mask_must_be_real_and_fit_the_domain(mask):
    with pytest.raises(InputError, match=r"mask must be real and have the shape \(4, 5, 6\)"):
        Inpainting(GRID, mask)
