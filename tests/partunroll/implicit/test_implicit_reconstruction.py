"""Fields fitted to whole scans, as the baseline `inr`."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from rich.progress import Progress

from normalfit.grid import Grid
from normalfit.mri.birdcage import birdcage_maps
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry
from normalfit.operators.deconvolution import Deconvolution
from normalfit.operators.multicoil_mri import MulticoilMRI
from partunroll.baselines.method import parse_method
from partunroll.baselines.problem import Problem
from partunroll.errors import InputError, NotFiniteError
from partunroll.volumes.image_metrics import Comparison

N = 12
SHORT = {"kind": "inr", "iterations": 4, "rays": 32}


def smooth_ball(shape):
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = torch.stack([a - 0.1 for a in axes]).square().sum(0).sqrt()
    return torch.sigmoid((0.55 - radius) / 0.08)


def cone_beam(num_views):
    geometry = ConeGeometry.circular_orbit(
        num_views=num_views,
        source_origin_mm=100.0,
        origin_detector_mm=50.0,
        detector_shape=(18, 20),
        pixel_mm=(3.0, 3.0),
    )
    return ConeBeam(Grid((N, N, N), (2.0,) * 3), geometry)


@pytest.fixture(scope="module")
def ct():
    operator = cone_beam(20)
    x = 0.03 * smooth_ball((N, N, N))
    return Problem(operator, operator.forward(x), 1.0, 0.9 * x), x


@pytest.fixture(scope="module")
def mri():
    shape = (16, 16)
    x = smooth_ball(shape) * torch.exp(1j * torch.linspace(0, 1, 16))
    mask = torch.ones(shape, dtype=torch.bool)
    mask[1::3] = False
    operator = MulticoilMRI(Grid(shape), birdcage_maps(4, shape), mask)
    return Problem(operator, operator.forward(x), 1.0, 0.9 * x), x


def psnr(x, reference):
    return Comparison.with_reference(reference).psnr(x, reference)


def test_a_smooth_object_from_many_rays(ct):
    problem, x = ct
    found = parse_method({"kind": "inr", "iterations": 100, "rays": 256}).reconstruct(problem)
    assert not found.requires_grad
    assert psnr(found, x) > 30


def test_a_smooth_object_from_the_whole_operator(ct):
    problem, x = ct
    document = {"kind": "inr", "iterations": 80, "forward_model": "operator"}
    assert psnr(parse_method(document).reconstruct(problem), x) > 30


def test_complex_images_of_coils(mri):
    problem, x = mri
    found = parse_method({"kind": "inr", "iterations": 200}).reconstruct(problem)
    assert found.dtype == torch.complex64
    assert psnr(found, x) > 30
    assert float((found - x).abs().square().mean().sqrt() / x.abs().max()) < 0.04  # phase too


def test_total_variation_makes_fields_flatter(ct, mri):
    for (problem, _), options in ((ct, {"rays": 128}), (mri, {})):
        variations = [
            parse_method({"kind": "inr", "iterations": 30, "tv_weight": weight, **options})
            .reconstruct(problem)
            .diff(dim=-1)
            .abs()
            .sum()
            for weight in (0.0, 30.0)
        ]
        assert variations[1] < 0.5 * variations[0]


def test_seeds_repeat_and_differ(ct, mri):
    for problem, _ in (ct, mri):
        document = {"kind": "inr", "iterations": 4}
        first, again, other = (
            parse_method(document).reconstruct(replace(problem, seed=seed)) for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_the_unit_of_the_measurements_changes_nothing_but_the_unit(ct):
    problem, _ = ct
    in_other_units = replace(
        problem, y=512 * problem.y, initial_estimate=512 * problem.initial_estimate
    )
    method = parse_method(SHORT)
    torch.testing.assert_close(
        method.reconstruct(in_other_units), 512 * method.reconstruct(problem)
    )


def test_voxels_without_rays_are_zero():
    geometry = ConeGeometry.circular_orbit(
        num_views=4,
        source_origin_mm=100.0,
        origin_detector_mm=50.0,
        detector_shape=(4, 20),
        pixel_mm=(3.0, 3.0),
    )
    operator = ConeBeam(Grid((N, N, N), (2.0,) * 3), geometry)
    x = 0.03 * smooth_ball((N, N, N))
    found = parse_method(SHORT).reconstruct(Problem(operator, operator.forward(x), 1.0, x))
    assert not found[0].any()
    assert found[N // 2].all()


def test_progress_counts_iterations(ct):
    with Progress(console=Console(file=io.StringIO())) as bars:
        parse_method(SHORT).reconstruct(ct[0], progress=bars)
    assert bars.tasks[0].completed == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"levels": 4}, "levels"),
        ({"encoding": {"kind": "hash", "growth": 0.5}}, "growth"),
        ({"encoding": {"kind": "hash", "spacing": 2.0}}, "spacing"),
        ({"encoding": {"kind": "octree"}}, "octree"),
        ({"iterations": 0}, "iterations"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"final_learning_rate": 2.0}, "final_learning_rate"),
        ({"tv_weight": -1.0}, "tv_weight"),
        ({"forward_model": "wave"}, "forward_model"),
        ({"rays": True}, "rays"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(InputError, match=words):
        parse_method({"kind": "inr", **options})


def test_what_does_not_suit_the_operator_is_refused(ct, mri):
    with pytest.raises(InputError, match="forward_model rays must be used with a whole cone"):
        parse_method({"kind": "inr", "forward_model": "rays"}).reconstruct(mri[0])
    with pytest.raises(InputError, match="rays must be left out where no rays are drawn"):
        parse_method(SHORT).reconstruct(mri[0])
    method = parse_method({"kind": "inr", "forward_model": "operator", "rays": 9, "step": 1.0})
    with pytest.raises(InputError, match="rays and step must be left out"):
        method.reconstruct(ct[0])


def test_nothing_to_fit_is_refused(ct):
    problem, _ = ct
    for empty, word in (({"y": 0 * problem.y}, "y must"), ({"initial_estimate": 0 * ct[1]}, "ini")):
        with pytest.raises(InputError, match=word):
            parse_method(SHORT).reconstruct(replace(problem, **empty))


def test_a_fit_that_diverges_says_so(ct):
    document = {"kind": "inr", "iterations": 50, "rays": 32, "learning_rate": 1e30}
    with pytest.raises(NotFiniteError, match=r"loss must be finite.*lower learning_rate"):
        parse_method(document).reconstruct(ct[0])


def test_a_given_encoding_serves_any_operator():
    grid = Grid((10, 10))
    operator = Deconvolution(grid, torch.full((3, 3), 1 / 9))
    x = smooth_ball(grid.shape)
    document = {"kind": "inr", "iterations": 100, "encoding": {"kind": "hash", "levels": 3}}
    problem = Problem(operator, operator.forward(x), 1.0, x)
    assert psnr(parse_method(document).reconstruct(problem), x) > 25
