"""Priors start from weights in files: 2-D ones inflated, none that do not fit, none downloaded."""

import pytest
import torch
from deepinv.models import DRUNet

from partunroll.configuration.network_config import PriorConfig
from partunroll.errors import InputError
from partunroll.network.prior import DRUNetPrior
from partunroll.network.prior_weights import load_prior_weights
from partunroll.training.patch_training import train

WIDTHS = (2, 4, 4, 2)


def drunet(dim=2, widths=WIDTHS, channels=1):
    torch.manual_seed(3)
    network = DRUNet(channels, channels, nc=widths, nb=1, pretrained=None, dim=dim)
    with torch.no_grad():
        for parameter in network.parameters():  # large enough for the nonlinearities to matter
            parameter.copy_(torch.randn(parameter.shape) / parameter[0].numel() ** 0.5)
    return network.eval()


def prior(dim, **values):
    return DRUNetPrior(PriorConfig(dim=dim, widths=WIDTHS, **{"residual": False, **values})).eval()


@pytest.fixture
def path(tmp_path):
    torch.save(drunet().state_dict(), tmp_path / "drunet.pt")
    return tmp_path / "drunet.pt"


def test_state_dict_of_deepinv_is_what_the_prior_computes(path):
    loaded = prior(2, noise_level=0.1)
    load_prior_weights(loaded, path)
    x = torch.rand(2, 40, 32)
    torch.testing.assert_close(loaded(x), drunet()(x[:, None], 0.1)[:, 0])


def test_inflated_prior_does_to_constant_volumes_what_the_2d_one_does_to_slices(path):
    """Up to the faces too: kernels have zeros beside their central slice."""
    flat, inflated = prior(2), prior(3)
    load_prior_weights(flat, path)
    load_prior_weights(inflated, path)
    image = torch.rand(1, 32, 40)
    volume = image[:, None].expand(1, 32, 32, 40)
    with torch.no_grad():
        expected, found = flat(image), inflated(volume)
    torch.testing.assert_close(found, expected[:, None].expand_as(found), rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01


def test_volume_does_not_move_along_z(path):
    """deepinv's own inflation puts the kernel beside the centre."""
    inflated = prior(3)
    load_prior_weights(inflated, path)
    volume = torch.zeros(1, 32, 32, 32)
    volume[:, 12:20, 8:24, 8:24] = 1
    with torch.no_grad():
        z = inflated(volume)
    torch.testing.assert_close(z, z.flip(1), rtol=1e-3, atol=1e-4)


def test_weights_under_state_dict_and_of_checkpoints_are_read(problem, finished, tmp_path, path):
    torch.save({"epoch": 3, "state_dict": drunet().state_dict()}, tmp_path / "trainer.pt")
    first, second = prior(2), prior(2)
    load_prior_weights(first, path)
    load_prior_weights(second, tmp_path / "trainer.pt")
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    of_run = DRUNetPrior(PriorConfig(dim=3, widths=(2, 2, 2, 2)))
    load_prior_weights(of_run, finished.output / "best.pt")
    kept = torch.load(finished.output / "best.pt", weights_only=True)["weights"]
    central = of_run.drunet.state_dict()["m_head.weight"][:, :, 1]
    assert torch.equal(central, kept["prior.drunet.m_head.weight"])


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"widths": (2, 4, 4, 4)}, r"m_body\.res\.0\.weight \(2, 2, 3, 3\) in the place of \(4, 4"),
        ({"blocks": 2}, r"m_body\.0\.res\.0\.weight nothing in the place of .* and \d+ more"),
        ({"channels": 2}, r"m_head\.weight \(2, 2, 3, 3\) in the place of \(2, 3, 3, 3\)"),
        ({"residual": True}, "residual must be false with the weights of deepinv's DRUNet"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(path, values, found):
    network = DRUNetPrior(PriorConfig(dim=2, **{"widths": WIDTHS, "residual": False, **values}))
    with pytest.raises(InputError, match=found):
        load_prior_weights(network, path)


def test_3d_weights_are_refused_for_2d_priors(tmp_path):
    torch.save(drunet(dim=3).state_dict(), tmp_path / "volume.pt")
    with pytest.raises(InputError, match=r"\(2, 2, 3, 3, 3\) in the place of \(2, 2, 3, 3\)"):
        load_prior_weights(prior(2), tmp_path / "volume.pt")


@pytest.mark.parametrize("content", [b"text", b"", {"a": 1}, [1.0], {}])
def test_other_files_are_refused(tmp_path, content):
    if isinstance(content, bytes):
        (tmp_path / "other.pt").write_bytes(content)
    else:
        torch.save(content, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"network\.prior\.weights must be"):
        load_prior_weights(prior(2), tmp_path / "other.pt")


def config_from(problem, path, **values):
    prior = {"widths": WIDTHS, "residual": False, "weights": str(path)}
    return problem.config(network={"iterations": 2, "prior": prior}, steps=4, **values)


def test_run_starts_from_the_weights_and_resumes_without_them(problem, path, tmp_path):
    config = config_from(problem, path, learning_rate=1e-12)
    run = tmp_path / "run"
    train(config, problem.factors, problem.data, run, stop_after=2)
    kept = torch.load(run / "last.pt", weights_only=True)
    torch.testing.assert_close(
        kept["weights"]["prior.drunet.m_tail.weight"], drunet().m_tail.weight.detach()
    )
    assert "drunet.pt" not in str(kept["network"])  # a checkpoint needs no other file
    assert "sha256" in (run / "provenance.json").read_text()
    path.unlink()
    assert train(None, problem.factors, problem.data, run, resume=True).step == 4


def test_run_whose_weights_do_not_fit_leaves_nothing(problem, path, tmp_path):
    torch.save(drunet(widths=(2, 2, 2, 2)).state_dict(), path)
    for found in (path, tmp_path / "gone.pt"):
        with pytest.raises(InputError, match=r"network\.prior\.weights"):
            train(config_from(problem, found), problem.factors, problem.data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
