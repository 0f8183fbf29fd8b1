"""Denoisers out of checkpoints and out of deepinv's weights, on real and complex volumes."""

import pytest
import torch

from partunroll.baselines.denoiser_files import load_denoiser
from partunroll.configuration.network_config import (
    DenoisingConfig,
    DRUNetConfig,
    PostProcessingConfig,
    PriorConfig,
)
from partunroll.errors import CheckpointError, InputError
from partunroll.network.checkpoint import Checkpoint, save_checkpoint
from partunroll.network.networks import build_network

WIDTHS = (2, 3, 4, 5)
LEVELS = torch.tensor([0.1, 0.3])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint of a denoiser, one of a post-processing network, and deepinv's weights."""
    from deepinv.models import DRUNet

    folder = tmp_path_factory.mktemp("denoisers")
    torch.manual_seed(0)
    trained = {
        "slices.pt": DenoisingConfig(
            prior=DRUNetConfig(dim=2, channels=1, slice_axis=2, widths=WIDTHS)
        ),
        "volumes.pt": DenoisingConfig(prior=DRUNetConfig(dim=3, channels=1, widths=WIDTHS)),
        "complex.pt": DenoisingConfig(prior=DRUNetConfig(dim=2, channels=2, widths=WIDTHS)),
        "post.pt": PostProcessingConfig(prior=PriorConfig(dim=2, channels=1, widths=WIDTHS)),
    }
    for name, config in trained.items():
        weights = build_network(config).state_dict()
        save_checkpoint(folder / name, Checkpoint(config, weights, (), (8,), "factors", 1))
    drunet = DRUNet(1, 1, nc=WIDTHS, nb=2, pretrained=None, dim=2).eval()
    torch.save(drunet.state_dict(), folder / "drunet.pth")
    torch.save({"state_dict": DRUNet(3, 3, nc=WIDTHS, nb=1, pretrained=None).state_dict()},
               folder / "colours.pth")  # fmt: skip
    torch.save({"weight": torch.zeros(2)}, folder / "other.pth")
    (folder / "text.pth").write_text("no weights")
    return folder, drunet


@torch.no_grad()
def test_weights_of_deepinvs_drunet_need_no_sizes(files):
    folder, drunet = files
    x = torch.rand(2, 32, 40)
    expected = drunet(x[:, None], LEVELS)[:, 0]
    found = load_denoiser(folder / "drunet.pth")(x, LEVELS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("slice_axis", "axis"), [(None, 0), (1, 1)])
def test_volumes_are_denoised_slice_by_slice(files, slice_axis, axis):
    denoise = load_denoiser(files[0] / "drunet.pth", slice_axis=slice_axis)
    x = torch.rand(1, 3, 4, 5)
    slices = [denoise(s[None], LEVELS[:1])[0] for s in x[0].unbind(axis)]
    torch.testing.assert_close(
        denoise(x, LEVELS[:1])[0], torch.stack(slices, axis), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_slices_lie_as_trained_unless_told(files):
    x = torch.rand(1, 3, 4, 5)
    as_trained = load_denoiser(files[0] / "slices.pt")(x, LEVELS[:1])
    told = load_denoiser(files[0] / "slices.pt", slice_axis=2)(x, LEVELS[:1])
    other = load_denoiser(files[0] / "slices.pt", slice_axis=0)(x, LEVELS[:1])
    assert torch.equal(as_trained, told)
    assert not torch.allclose(as_trained, other)


@torch.no_grad()
def test_complex_patches_are_two_channels_or_two_real_patches(files):
    x = torch.randn(2, 8, 9, dtype=torch.complex64)
    denoise = load_denoiser(files[0] / "slices.pt")
    expected = torch.complex(denoise(x.real, LEVELS), denoise(x.imag, LEVELS))
    assert torch.equal(denoise(x, LEVELS), expected)
    joint = load_denoiser(files[0] / "complex.pt")
    assert joint(x, LEVELS).is_complex()
    with pytest.raises(InputError, match="must be complex"):
        joint(x.real, LEVELS)


@pytest.mark.parametrize(
    ("name", "slice_axis", "message"),
    [
        ("nothing.pt", None, "not there"),
        ("post.pt", None, "network.kind denoising, got .* of post_processing"),
        ("volumes.pt", 1, "slice_axis must be left out with a 3-D denoiser"),
        ("colours.pth", None, "channels"),
        ("other.pth", None, "or weights of deepinv's DRUNet"),
        ("text.pth", None, "must be a file of weights"),
    ],
)
def test_other_files_are_refused_by_name(files, name, slice_axis, message):
    with pytest.raises((InputError, CheckpointError), match=message):
        load_denoiser(files[0] / name, slice_axis=slice_axis)


@pytest.mark.slow
@torch.no_grad()
def test_ram_denoises_slices_and_complex_images(tmp_path):
    """35 million numbers: half a minute."""
    from deepinv.models import RAM

    torch.manual_seed(0)
    model = RAM(pretrained=None).eval()
    torch.save(model.state_dict(), tmp_path / "ram.pth")
    denoise = load_denoiser(tmp_path / "ram.pth")
    x = torch.rand(1, 2, 20, 24)
    expected = torch.stack([model(s[None, None], sigma=0.1)[0, 0] for s in x[0]])
    torch.testing.assert_close(denoise(x, LEVELS[:1])[0], expected, rtol=1e-3, atol=1e-4)
    image = torch.complex(x[:, 0], x[:, 1])
    joint = model(x, sigma=0.1)
    found = denoise(image, LEVELS[:1])
    expected = torch.complex(joint[:, 0], joint[:, 1])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    weights = model.state_dict()
    weights.popitem()
    torch.save(weights, tmp_path / "part.pth")
    with pytest.raises(InputError, match="all weights of deepinv's RAM"):
        load_denoiser(tmp_path / "part.pth")
