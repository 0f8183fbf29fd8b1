"""Of 1,000 seeded 95 % intervals, 93 to 97 % hold the true error of a dense operator."""

import itertools
import math

import pytest
import torch

from normalfit.dense import best_factors, dense_matrix
from normalfit.estimate import relative_error_estimate
from normalfit.grid import Patch
from normalfit.probe_set_error import probe_set_error
from normalfit.probes import ProbeSet, draw_probe, generator
from normalfit.random_patch import random_patch
from normalfit.specs import spec_from_document

REPEATS = 1000
DOCUMENTS = {
    "cone beam": {
        "kind": "cone_beam", "volume_shape": [5, 5, 5], "voxel_mm": 1.0,
        "detector_shape": [8, 8], "pixel_mm": 1.5, "source_origin_mm": 20.0,
        "origin_detector_mm": 10.0, "num_views": 12,
    },
    "parallel beam": {
        "kind": "parallel_beam", "volume_shape": [8, 8], "voxel_mm": 1.0, "num_columns": 12,
        "pixel_mm": 1.0, "num_views": 10, "angle_range_deg": 180.0,
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=DOCUMENTS)
def dense(request):
    """Return the shape, N and the difference N - B for the best factors, as matrices."""
    operator = spec_from_document(DOCUMENTS[request.param], {}).build()
    shape = operator.domain.shape
    N = dense_matrix(operator.normal, shape)
    B = dense_matrix(best_factors(N, shape, ("linear",) * len(shape), starts=1), shape)
    return shape, N, N - B


def covered(errors, references, true_error):
    """Return the share of the repeats, ``(repeat, probe)`` each, whose interval holds the truth."""
    estimates = [relative_error_estimate(*pair) for pair in zip(errors, references, strict=True)]
    return sum(e.low < true_error < e.high for e in estimates) / len(estimates)


@pytest.mark.parametrize("probes", [16, 32])
def test_intervals_on_the_grid(dense, probes):
    shape, N, left = dense
    w = torch.randn(
        REPEATS, probes, math.prod(shape), dtype=torch.float64, generator=generator(0, "check", 0)
    )
    errors, references = ((w @ matrix.T).square().sum(-1).numpy() for matrix in (left, N))
    true_error = float(left.norm() / N.norm())
    assert 0.93 <= covered(errors, references, true_error) <= 0.97


def test_the_library_measures_what_the_matrices_say(dense):
    """The first of such estimates, by way of probes and responses."""
    shape, N, left = dense
    probes = [
        draw_probe(shape, seed=0, stream="evaluation", index=i, dtype=torch.float64)
        for i in range(16)
    ]
    flat = torch.stack(probes).flatten(1)
    responses = (flat @ N.T).reshape(-1, *shape)
    found = probe_set_error(
        ProbeSet(probes, responses), lambda w: ((N - left) @ w.flatten()).reshape(shape)
    )
    expected = relative_error_estimate(
        (flat @ left.T).square().sum(1).numpy(), (flat @ N.T).square().sum(1).numpy()
    )
    assert found.value == pytest.approx(expected.value)
    assert found.low == pytest.approx(expected.low)


def test_intervals_on_random_patches(dense):
    shape, N, left = dense
    patch_shape = tuple((n + 1) // 2 for n in shape)
    samples = torch.arange(math.prod(shape)).reshape(shape)
    blocks, total = {}, [0.0, 0.0]
    places = itertools.product(*[range(n - p + 1) for n, p in zip(shape, patch_shape, strict=True)])
    for corner in places:
        inside = samples[Patch(corner, patch_shape).slices].flatten()
        blocks[corner] = [matrix[inside][:, inside] for matrix in (left, N)]
        total = [t + float(b.square().sum()) for t, b in zip(total, blocks[corner], strict=True)]
    true_error = math.sqrt(total[0] / total[1])
    errors, references = [], []
    for repeat in range(REPEATS):
        w = torch.randn(
            16, math.prod(patch_shape), dtype=torch.float64, generator=generator(1, "check", repeat)
        )
        pairs = []
        for index, probe in enumerate(w):
            draw = generator(repeat, "patch places", index)
            a, b = blocks[random_patch(shape, patch_shape, draw).offset]
            pairs.append((float((a @ probe).square().sum()), float((b @ probe).square().sum())))
        errors.append([a for a, _ in pairs])
        references.append([b for _, b in pairs])
    assert 0.93 <= covered(errors, references, true_error) <= 0.97
