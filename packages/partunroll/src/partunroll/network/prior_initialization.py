"""initialize_prior: weights of a DRUNet from which training does not wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# gains of orthogonal weights (our choice)
_FIRST, _SECOND, _TAIL, _OTHER = 2**0.5, 0.1, 0.05, 1.0


def initialize_prior(drunet: nn.Module) -> None:
    """Give the convolutions of a DRUNet orthogonal weights whose signals neither fade nor grow.

    deepinv's have a gain of 0.2 each, so that seven and more of them in a row hand on next to
    nothing, and the coarse scales learn late. Here the convolutions between scales keep the size
    of signals (gain 1), the first one of a residual block makes up for its ReLU (√2, He et al.
    2015), and its second one and the last of all are small, so that blocks start near the
    identity and the DRUNet near zero.

    Parameters
    ----------
    drunet
        Changed in place, by torch's random numbers.
    """
    for gain, weight in _gains(drunet):
        nn.init.orthogonal_(weight.data, gain=gain)


def _gains(drunet: nn.Module) -> Iterator[tuple[float, torch.Tensor]]:
    """Yield the gain and the weight of every convolution, by the name that deepinv gives it."""
    for name, module in drunet.named_modules():
        if not isinstance(module, _CONVOLUTIONS):
            continue
        if name.startswith("m_tail"):
            yield _TAIL, module.weight
        elif name.endswith("res.0"):
            yield _FIRST, module.weight
        else:
            yield (_SECOND if name.endswith("res.2") else _OTHER), module.weight
