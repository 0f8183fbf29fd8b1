"""load_prior_weights: start a prior from weights in a file, 2-D ones inflated to 3-D."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from partunroll.errors import InputError
from partunroll.network.checkpoint import is_checkpoint, load_checkpoint
from partunroll.network.prior import DRUNetPrior
from partunroll.network.state_dict_file import read_state_dict
from partunroll.network.weight_inflation import inflate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from partunroll.configuration.network_config import DRUNetConfig

_PREFIX = "prior.drunet."  # of the DRUNet's weights in a checkpoint
_SHOWN = 3  # differences in a message


def load_prior_weights(prior: DRUNetPrior, path: Path) -> None:
    """Replace the weights of a prior; nothing is ever downloaded, nothing in the file executed.

    Parameters
    ----------
    prior
        Of the same widths, blocks and channels; a 3-D one takes 2-D weights, inflated.
    path
        A checkpoint of partunroll, or the state dict of a deepinv ``DRUNet``, also under the key
        ``state_dict`` as deepinv's trainer writes it.

    Raises
    ------
    InputError
        The file is something else, the weights do not fit (all that differs is named), or the
        network that they were trained in adds its input where the prior does not, or the reverse.
    """
    found, residual = _read(path)
    if residual != prior.residual:
        kind = "a checkpoint" if is_checkpoint(path) else "deepinv's DRUNet, which does not add x"
        msg = f"network.prior.residual must be {str(residual).lower()} with the weights of {kind}, "
        raise InputError(msg + f"{path}, got {str(prior.residual).lower()}")
    fitted = _inflated(found, prior.drunet)
    wanted = prior.drunet.state_dict()
    differences = [
        f"{name} {_shape(fitted.get(name))} in the place of {_shape(wanted.get(name))}"
        for name in sorted({*fitted, *wanted})
        if _shape(fitted.get(name)) != _shape(wanted.get(name))
    ]
    if differences:
        more = len(differences) - _SHOWN
        listed = "; ".join(differences[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        msg = f"network.prior.weights must fit network.prior, got {path} with {listed}; "
        raise InputError(msg + "set widths, blocks and dim to those of the weights")
    if wanted[next(iter(wanted))].device.type != "meta":
        prior.drunet.load_state_dict(fitted)


def check_prior_weights(config: DRUNetConfig) -> None:
    """Raise what `load_prior_weights` would, before anything is made for the network."""
    if config.weights is not None:
        with torch.device("meta"):  # shapes without memory
            prior = DRUNetPrior(config)
        load_prior_weights(prior, Path(config.weights))


def _read(path: Path) -> tuple[dict[str, torch.Tensor], bool]:
    """Return the weights of a DRUNet by name, and whether its input was added to its result."""
    if is_checkpoint(path):
        checkpoint = load_checkpoint(path)
        weights = {
            name.removeprefix(_PREFIX): tensor
            for name, tensor in checkpoint.weights.items()
            if name.startswith(_PREFIX)
        }
        return weights, checkpoint.network.prior.residual
    return read_state_dict(path, "network.prior.weights", "deepinv's DRUNet"), False


def _inflated(weights: Mapping[str, torch.Tensor], drunet: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights with those of 2-D convolutions inflated where the network's are 3-D."""
    result = dict(weights)
    for name, module in drunet.named_modules():
        weight = result.get(f"{name}.weight")
        if weight is None or weight.ndim != 4:
            continue
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            upsamples = isinstance(module, nn.ConvTranspose3d)
            depth = module.kernel_size[0]
            result[f"{name}.weight"] = inflate(weight, depth, upsamples=upsamples)
    return result


def _shape(tensor: torch.Tensor | None) -> str:
    return "nothing" if tensor is None else str(tuple(tensor.shape))
