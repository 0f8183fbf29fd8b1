"""What `reconstruct` refuses, and when."""

import pytest
import torch

from partunroll.errors import InputError, MismatchError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"patch_shape": (6, 11)},
            r"patch_shape must fit into the volume \(9, 10\), got \(6, 11\)",
        ),
        ({"patch_shape": (6, 6, 6)}, r"got \(6, 6, 6\)"),
        ({"overlap": 6}, r"overlap must be 0 … 5 for \(6, 6\), got 6"),
        ({"overlap": 2, "stride": 3}, "overlap must be left out with a stride, got 2 and 3"),
        ({"overlap": None, "stride": (3, 7)}, "stride must be 1 … 6"),
        ({"blend": "box"}, "blend must be one of hann, gaussian, crop, got 'box'"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"refresh": 2}, "refresh must be at least 1, and 1 with normal 'exact', got 2"),
        ({"normal": "factors", "refresh": 0}, "got 0 with 'factors'"),
    ],
)
def test_wrong_options_are_refused(scene, options, message):
    with pytest.raises(InputError, match=message):
        scene.reconstruct(**options)


@pytest.mark.parametrize("options", [{}, {"normal": "factors", "stages": 1}])
def test_missing_factors_are_refused_before_anything_is_computed(scene, options):
    with pytest.raises(InputError, match="factors must be given to be used, got none"):
        scene.reconstruct(None, **options)
    assert scene.operator.counts == {"forward": 0, "adjoint": 0}


def test_wrong_shapes_are_refused_naming_both(scene):
    scene.y = scene.y[:, :7]
    with pytest.raises(InputError, match=r"measurements .* \(9, 10\), got \(9, 7\)"):
        scene.reconstruct()


def test_factors_of_another_grid_are_refused(scene):
    with pytest.raises(MismatchError, match=r"\(9, 10\), got \(9, 8\)"):
        scene.reconstruct(type(scene.operator)((9, 8)).factors)


def test_a_network_that_diverges_is_reported(scene):
    scene.network.weight = scene.network.weight * torch.nan
    with pytest.raises(InputError, match="reconstruction must be finite"):
        scene.reconstruct()
