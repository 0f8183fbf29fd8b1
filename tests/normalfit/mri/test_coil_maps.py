"""Birdcages, maps from calibration data, coil compression."""

import pytest
import torch

from normalfit.errors import InputError
from normalfit.mri.birdcage import birdcage_maps
from normalfit.mri.centred_fft import centred_fft, centred_ifft
from normalfit.mri.coil_compression import compress_coils
from normalfit.mri.coil_maps import estimate_coil_maps


def disc(n):
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, n)] * 2, indexing="ij")
    return (y.square() + x.square() < 0.6).to(torch.complex64)


def aligned(found, truth):
    """Maps are known up to a phase per voxel."""
    phase = (found.conj() * truth).sum(0)
    return found * phase / phase.abs().clamp_min(1e-12)


@pytest.mark.parametrize("shape", [(20, 24), (8, 20, 24)])
def test_birdcage_is_normalised_and_turns_with_the_coils(shape):
    maps = birdcage_maps(12, shape)
    assert maps.dtype == torch.complex64
    torch.testing.assert_close(maps.abs().square().sum(0), torch.ones(shape))
    strongest = maps.abs().flatten(1).argmax(1)
    assert len(set(strongest.tolist())) > 6


def test_birdcage_of_one_ring_is_symmetric_under_a_quarter_turn():
    maps = birdcage_maps(4, (33, 33), normalised=False).abs()
    torch.testing.assert_close(maps[1], torch.rot90(maps[0], -1), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("method", ["calibration", "espirit"])
def test_maps_from_calibration_data_are_those_of_the_object(method):
    n = 48
    truth, x = birdcage_maps(6, (n, n)), disc(n)
    kspace = centred_fft(truth * x, (-2, -1))
    maps = estimate_coil_maps(kspace, 20, method=method)
    inside = disc(n - 8).real.bool()
    inside = torch.nn.functional.pad(inside, (4, 4, 4, 4))
    error = (aligned(maps, truth) - truth)[:, inside]
    assert error.abs().square().sum(0).sqrt().mean() < 0.05
    root = maps.abs().square().sum(0).sqrt()[inside]
    torch.testing.assert_close(root, torch.ones_like(root), atol=1e-2, rtol=0)


@pytest.mark.parametrize("method", ["calibration", "espirit"])
def test_hybrid_maps_are_estimated_slice_by_slice(method):
    n = 32
    truth = birdcage_maps(4, (3, n, n))
    kspace = centred_fft(truth * disc(n), (-2, -1))
    maps = estimate_coil_maps(kspace, 16, method=method, axes=(1, 2))
    alone = estimate_coil_maps(kspace[:, 1], 16, method=method)
    torch.testing.assert_close(maps[:, 1], alone, atol=1e-4, rtol=1e-3)


def test_fft_is_centred_and_unitary():
    x = torch.randn(2, 5, 6, dtype=torch.complex128)
    y = centred_fft(x, (1, 2))
    torch.testing.assert_close(y.norm(), x.norm())
    torch.testing.assert_close(centred_ifft(y, (1, 2)), x)
    constant = centred_fft(torch.ones(5, 6, dtype=torch.complex128), (0, 1))
    assert int(constant.abs().argmax()) == 2 * 6 + 3


def test_compression_keeps_what_the_singular_values_say():
    maps = birdcage_maps(8, (24, 24)).to(torch.complex128)
    compression = compress_coils(maps, 3)
    matrix = compression.matrix
    torch.testing.assert_close(matrix @ matrix.mH, torch.eye(3, dtype=torch.complex128))
    kept = compression(maps).abs().square().sum() / maps.abs().square().sum()
    assert float(kept) == pytest.approx(compression.kept_energy)
    singular = torch.linalg.svdvals(maps.flatten(1)).square()
    assert compression.kept_energy == pytest.approx(float(singular[:3].sum() / singular.sum()))
    assert compress_coils(maps, 8).kept_energy == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"calibration": 40}, "between 2 and 32"),
        ({"method": "magic"}, "one of"),
        ({"kspace": torch.zeros(2, 32, 32)}, "complex"),
        ({"kspace": torch.zeros(2, 32, 32, dtype=torch.complex64)}, "signal"),
    ],
)
def test_bad_arguments_are_named(change, words):
    arguments = {"kspace": torch.ones(2, 32, 32, dtype=torch.complex64), "calibration": 8} | change
    with pytest.raises(InputError, match=words):
        estimate_coil_maps(**arguments)
