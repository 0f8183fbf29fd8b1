"""A fresh prior starts near the identity, and its coarse scales take part from the first step."""

import pytest
import torch
from deepinv.models import DRUNet

from partunroll.configuration.train_config import PriorConfig
from partunroll.network.prior import DRUNetPrior
from partunroll.network.prior_initialization import initialize_prior

SHAPES = {2: (8, 64, 64), 3: (2, 32, 32, 32)}


def prior(dim, blocks):
    torch.manual_seed(0)
    return DRUNetPrior(
        PriorConfig(
            dim=dim,
            widths=(8, 16, 32, 64),
            blocks=blocks,
            channels_last=False,
            fresh_weights="balanced",
        )
    )


def coarse_share(drunet, x):
    """Return the gradient of the coarsest scale over that of the last layer."""
    drunet.zero_grad()
    drunet(x[:, None], 0.05).square().mean().backward()
    norms = {name: p.grad.norm() for name, p in drunet.named_parameters()}
    coarsest = torch.stack([n for name, n in norms.items() if name.startswith("m_body")])
    return float(coarsest.norm() / norms["m_tail.weight"])


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("dim", [2, 3])
def test_signals_neither_fade_nor_grow(dim, blocks):
    drunet, sizes = prior(dim, blocks).drunet, []
    for name in ("m_down1", "m_down2", "m_down3", "m_body"):
        getattr(drunet, name).register_forward_hook(lambda *a: sizes.append(a[-1].std().item()))
    x = torch.rand(SHAPES[dim])
    drunet(x[:, None], 0.05)
    assert len(sizes) == 4
    assert max(sizes) < 4 * float(x.std())
    assert min(sizes) > float(x.std()) / 4


@pytest.mark.parametrize("dim", [2, 3])
def test_a_fresh_prior_is_near_the_identity(dim):
    x = torch.rand(SHAPES[dim])
    change = prior(dim, 1)(x) - x
    assert 0 < (change.norm() / x.norm()).item() < 0.2


@pytest.mark.parametrize("dim", [2, 3])
def test_the_coarsest_scale_learns_sooner_than_with_deepinvs_weights(dim):
    torch.manual_seed(0)
    drunet = DRUNet(1, 1, nc=(8, 16, 32, 64), nb=1, pretrained=None, dim=dim)
    x = torch.rand(SHAPES[dim])
    theirs = coarse_share(drunet, x)
    initialize_prior(drunet)
    assert coarse_share(drunet, x) > 100 * theirs


def test_the_seed_decides_about_the_weights():
    first, second = (prior(2, 2).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("dim", "by_default"), [(2, "balanced"), (3, "deepinv")])
def test_a_prior_has_the_fresh_weights_that_its_config_names(dim, by_default):
    weights = {}
    for name in (None, "balanced", "deepinv"):
        torch.manual_seed(0)
        weights[name] = DRUNetPrior(PriorConfig(dim=dim, fresh_weights=name)).drunet.m_tail.weight
    assert torch.equal(weights[None], weights[by_default])
    assert not torch.equal(weights["balanced"], weights["deepinv"])


@pytest.mark.parametrize(("dim", "by_default"), [(2, "balanced"), (3, "deepinv")])
def test_a_resolved_config_says_which_fresh_weights(dim, by_default):
    shapes = (8,) * 3, (4,) * 3
    resolved = PriorConfig(dim=dim).resolved(*shapes, is_complex=False)
    assert resolved.fresh_weights == by_default
    chosen = PriorConfig(dim=dim, fresh_weights="deepinv").resolved(*shapes, is_complex=False)
    assert chosen.fresh_weights == "deepinv"
