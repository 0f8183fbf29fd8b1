"""PSNR and SSIM against their definitions and against torchmetrics."""

import math

import numpy as np
import pytest
import torch

from partunroll.errors import InputError
from partunroll.volumes.image_metrics import Comparison
from partunroll.volumes.structural_similarity import structural_similarity


def volumes(shape=(13, 17, 12), noise=0.1):
    generator = torch.Generator().manual_seed(4)
    reference = torch.rand(shape, generator=generator)
    return reference + noise * torch.randn(shape, generator=generator), reference


@pytest.mark.parametrize("shape", [(13, 17, 12), (24, 19)])
@pytest.mark.parametrize("data_range", [1.0, 0.3])
def test_ssim_is_that_of_torchmetrics(shape, data_range):
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, reference = volumes(shape)
    expected = structural_similarity_index_measure(
        x[None, None], reference[None, None], data_range=data_range
    )
    found = structural_similarity(x.numpy(), reference.numpy(), data_range)
    assert isinstance(expected, torch.Tensor)
    assert found == pytest.approx(expected.item(), abs=2e-6)


def test_ssim_of_the_same_volume_is_one():
    x, _ = volumes()
    assert structural_similarity(x.numpy(), x.numpy(), 1.0) == pytest.approx(1.0, abs=1e-12)


def test_psnr_of_a_constant_error():
    _, reference = volumes()
    comparison = Comparison(data_range=2.0)
    assert comparison.psnr(reference + 0.02, reference) == pytest.approx(40.0, abs=1e-3)


def test_psnr_without_difference_is_infinite():
    _, reference = volumes()
    assert Comparison.with_reference(reference).psnr(reference, reference) == math.inf


def test_the_default_range_is_that_of_the_reference():
    x, reference = volumes()
    comparison = Comparison.with_reference(4 * reference - 1)
    assert comparison.data_range == pytest.approx(4 * float(reference.max() - reference.min()))
    scaled = comparison.psnr(4 * x - 1, 4 * reference - 1)
    assert scaled == pytest.approx(
        Comparison.with_reference(reference).psnr(x, reference), abs=1e-4
    )


def test_crop_leaves_out_every_face():
    _, reference = volumes((15, 16, 17))
    x = reference.clone()
    for axis in range(3):
        x.select(axis, 1).add_(5.0)
        x.select(axis, -2).add_(5.0)
    cropped, whole = Comparison(1.0, crop=2), Comparison(1.0, crop=1)
    assert cropped.psnr(x, reference) == math.inf
    assert cropped.ssim(x, reference) == pytest.approx(1.0)
    assert whole.psnr(x, reference) < 10
    assert whole.ssim(x, reference) < 0.9


def test_the_definition_can_be_printed():
    text = str(Comparison(1.5, crop=3))
    assert "data range 1.5 (given)" in text
    assert "without 3 voxels at every face" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Comparison(0.0), "data_range must be positive and finite, got 0.0"),
        (lambda: Comparison(math.nan), "got nan"),
        (lambda: Comparison(1.0, crop=-1), "crop must be at least 0, got -1"),
        (
            lambda: Comparison.with_reference(torch.ones(12, 12)),
            r"got 0.0 \(max − min of the reference\); give one",
        ),
    ],
)
def test_wrong_definitions_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_different_shapes_are_refused_naming_both():
    x, reference = volumes()
    with pytest.raises(InputError, match=r"\(13, 17, 12\), got \(13, 17, 11\)"):
        Comparison(1.0).psnr(x[..., :-1], reference)


def test_a_crop_that_leaves_nothing_is_refused():
    x, reference = volumes()
    with pytest.raises(InputError, match=r"crop must leave voxels .*, got 6"):
        Comparison(1.0, crop=6).psnr(x, reference)


def test_a_volume_smaller_than_the_window_has_no_ssim():
    with pytest.raises(InputError, match=r"at least 11 voxels .*, got shape \(10, 12, 12\)"):
        structural_similarity(np.ones((10, 12, 12)), np.ones((10, 12, 12)), 1.0)
