"""A turned or mirrored batch is the problem of the turned operator, exactly."""

import itertools

import numpy as np
import pytest
import torch

from normalfit.factors import Factors
from normalfit.grid import Patch
from normalfit.lag_kernel import LagKernel
from normalfit.restriction import restrict_batch
from normalfit.specs import spec_from_document
from partunroll.network.networks import data_step
from partunroll.patches.patch_batch import PatchBatch
from partunroll.patches.patch_gradient import PatchProblem
from partunroll.patches.patch_normals import RestrictedNormals
from partunroll.patches.patch_symmetry import PatchSymmetry, rotations

SHAPE, PATCH = (8, 8, 8), (5, 5, 5)
PATCHES = (Patch((0, 1, 2), PATCH), Patch((3, 3, 0), PATCH))
SOME = [*rotations(3, (0, 1, 2))[::5], *rotations(3, (1, 2)), PatchSymmetry((0, 1, 2), (0, 2))]


def dense(symmetry, n, num_axes):
    """The symmetry as a matrix."""
    unit = torch.eye(n**num_axes).reshape(-1, *[n] * num_axes)
    return symmetry(unit).reshape(n**num_axes, -1).T


def normal_of(kind, generator):
    """``B_p`` of two patches, of an operator without any symmetry."""
    if kind == "exact":
        document = {"kind": "inpainting", "volume_shape": list(SHAPE), "kept_fraction": 0.5}
        operator = spec_from_document({**document, "seed": 1}, {}).build()
        return RestrictedNormals(tuple(operator.restricted(patch) for patch in PATCHES), 0.7)
    dtype = torch.complex128 if kind == "complex" else torch.float64
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=dtype)  # noqa: E731
    ends = ("linear", "periodic", "linear")
    kernel = LagKernel(draw(2, 5, 3, 7), SHAPE, ends)
    return restrict_batch(Factors(kernel, draw(2, *SHAPE), draw(2, *SHAPE)), PATCHES)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def test_a_square_has_four_rotations_and_a_cube_twenty_four():
    assert [len(rotations(n, tuple(range(n)))) for n in (2, 3)] == [4, 24]
    assert rotations(3)[0].is_identity
    assert len(rotations(3)) == 1
    for num_axes in (2, 3):
        group = rotations(num_axes, tuple(range(num_axes)))
        assert group[0].is_identity
        assert not any(symmetry.is_identity for symmetry in group[1:])
        matrices = [dense(symmetry, 2, num_axes) for symmetry in group]
        assert len({tuple(m.flatten().tolist()) for m in matrices}) == len(group)
        closed = {
            tuple((a @ b).flatten().tolist())
            for a, b in itertools.product(matrices, [*matrices[1:3]])
        }
        assert closed <= {tuple(m.flatten().tolist()) for m in matrices}


def test_rotations_are_those_of_numpy():
    x = torch.arange(9).reshape(3, 3)
    turned = {tuple(symmetry(x).flatten().tolist()) for symmetry in rotations(2, (0, 1))}
    assert turned == {tuple(np.rot90(x.numpy(), k).flatten().tolist()) for k in range(4)}


def test_axes_that_are_not_turned_stay():
    for symmetry in rotations(3, (1, 2)):
        assert symmetry.permutation[0] == 0
        assert 0 not in symmetry.flips


@pytest.mark.parametrize("symmetry", SOME, ids=str)
def test_the_inverse_undoes_it_and_is_its_adjoint(symmetry, generator):
    x, y = (torch.randn(2, *PATCH, generator=generator, dtype=torch.float64) for _ in range(2))
    assert torch.equal(symmetry.inverse(symmetry(x)), x)
    assert torch.equal(symmetry(symmetry.inverse(x)), x)
    torch.testing.assert_close((symmetry(x) * y).sum(), (x * symmetry.inverse(y)).sum())


@pytest.mark.parametrize("kind", ["factors", "complex", "exact"])
@pytest.mark.parametrize("symmetry", SOME, ids=str)
def test_the_step_of_the_transformed_batch_is_the_transformed_step(kind, symmetry, generator):
    dtype = torch.complex128 if kind == "complex" else torch.float64
    x, x0, truth, g0 = (torch.randn(2, *PATCH, generator=generator, dtype=dtype) for _ in range(4))
    batch = PatchBatch(0, "a", ("s", "t"), PATCHES, x0, truth, g0, normal_of(kind, generator))
    transformed = batch.transformed(symmetry)

    def step(batch, x):
        problem = PatchProblem(batch.initial_estimate, batch.initial_gradient, batch.normal)
        return data_step(x, torch.tensor(0.7), problem)

    expected = step(batch, x)
    torch.testing.assert_close(step(transformed, symmetry(x)), symmetry(expected))
    assert torch.equal(transformed.truth, symmetry(truth))
    if not symmetry.is_identity:  # the operator has no symmetry: it must be transformed too
        unturned = PatchProblem(
            transformed.initial_estimate, transformed.initial_gradient, batch.normal
        )
        wrong = data_step(symmetry(x), torch.tensor(0.7), unturned)
        assert (wrong - symmetry(expected)).abs().max() > 0.01


def test_gradients_flow_through_a_transformed_normal(generator):
    normal = normal_of("factors", generator)
    x = torch.randn(2, *PATCH, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, *PATCH, generator=generator, dtype=torch.float64)
    batch = PatchBatch(0, "a", ("s", "t"), PATCHES, y, y, y, normal)
    symmetry = rotations(3, (0, 1, 2))[7]
    turned = batch.transformed(symmetry).normal
    (found,) = torch.autograd.grad((turned(x) * y).sum(), x)
    (plain,) = torch.autograd.grad((normal(x) * symmetry.inverse(y)).sum(), x)
    expected = symmetry(normal.adjoint(symmetry.inverse(y)))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, plain)


def test_a_turned_scanner_sees_the_turned_patch(generator):
    """The transformed batch is what a scanner turned by 90° would have given."""
    document = {"kind": "deconvolution", "volume_shape": [9, 9], "boundary": "linear"}
    wide, high = (
        spec_from_document({**document, "gaussian_std_voxels": stds}, {}).build()
        for stds in ([0.5, 1.5], [1.5, 0.5])
    )
    patch, quarter = Patch((2, 3), (5, 5)), PatchSymmetry((1, 0), (1,))
    x = torch.randn(1, 5, 5, generator=generator)
    batch = PatchBatch(
        0, "a", ("s",), (patch,), x, x, x, RestrictedNormals((wide.restricted(patch),), 1.0)
    )
    there = RestrictedNormals((high.restricted(Patch((3, 2), (5, 5))),), 1.0)
    torch.testing.assert_close(batch.transformed(quarter).normal(x), there(x))
