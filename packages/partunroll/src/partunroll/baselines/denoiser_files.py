"""load_denoiser: a denoiser out of a file: of `partunroll train`, or weights of DRUNet or RAM."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from partunroll.baselines.ram_denoiser import OWN_WEIGHT, RAMDenoiser
from partunroll.configuration.network_config import DenoisingConfig, DRUNetConfig
from partunroll.errors import InputError
from partunroll.network.checkpoint import is_checkpoint
from partunroll.network.exported_model import load_trained
from partunroll.network.prior import DRUNetPrior
from partunroll.network.state_dict_file import read_state_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_HALVING = re.compile(r"m_down1\.(\d+)\.weight")  # behind the residual blocks of its scale


def load_denoiser(
    path: Path, *, slice_axis: int | None = None, device: torch.device | str = "cpu"
) -> Denoise:
    """Return ``D_σ`` of noisy patches ``(batch, *p)`` and their levels, ``(batch,)``.

    Two-dimensional ones take volumes slice by slice; those of one channel take complex patches
    as real and imaginary part, one after the other. Nothing is ever downloaded, nothing in the
    file executed.

    Parameters
    ----------
    path
        A checkpoint or an exported model of ``network.kind: denoising``, or a state dict of
        deepinv's ``DRUNet`` (of one channel, or two) or ``RAM``.
    slice_axis
        Across the slices; None: as trained, or 0. Left out for a 3-D one.
    device
        Where it computes.

    Raises
    ------
    InputError, CheckpointError
        The file is something else, or damaged.
    """
    if not path.exists():
        msg = f"denoiser must be a file of weights or a trained network, got {path}, not there"
        raise InputError(msg)
    if path.is_dir() or is_checkpoint(path):
        network = _trained(path, slice_axis)
        channels = network.prior.channels
    else:
        weights = read_state_dict(path, "denoiser", "deepinv's DRUNet or RAM")
        if OWN_WEIGHT in weights:
            return RAMDenoiser(weights, path, slice_axis or 0).to(device).eval()
        network = _drunet(weights, path, slice_axis)
        channels = network.channels
    network = network.to(device).eval()
    return network if channels == 2 else _part_by_part(network)


def _trained(path: Path, slice_axis: int | None) -> Any:  # noqa: ANN401 - a DenoisingNetwork
    checkpoint = load_trained(path)
    config = checkpoint.network
    if not isinstance(config, DenoisingConfig):
        msg = f"denoiser must be trained with network.kind denoising, got {path} of {config.kind}"
        raise InputError(msg)
    if slice_axis is not None:
        _check_slices(config.prior.dim, path, slice_axis)
        prior = config.prior.model_copy(update={"slice_axis": slice_axis})
        checkpoint = replace(checkpoint, network=config.model_copy(update={"prior": prior}))
    return checkpoint.build_network()


def _drunet(weights: Mapping[str, Any], path: Path, slice_axis: int | None) -> DRUNetPrior:
    """Return a DRUNet whose sizes are those of its weights."""
    try:
        head, tail = weights["m_head.weight"], weights["m_tail.weight"]
        blocks = max(int(m[1]) for m in map(_HALVING.fullmatch, weights) if m)
        halved = [weights[f"m_down{k}.{blocks}.weight"].shape[0] for k in (1, 2, 3)]
        dim = head.ndim - 2
        config = DRUNetConfig.model_validate(
            {
                "dim": dim,
                "channels": tail.shape[0],
                "slice_axis": None if dim == 3 else slice_axis or 0,
                "widths": (head.shape[0], *halved),
                "blocks": blocks,
                "residual": False,
            }
        )
    except (KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = (
            "denoiser must be a checkpoint of network.kind denoising, or weights of deepinv's "
            f"DRUNet of one channel or two or of RAM, got {path}: {reason}"
        )
        raise InputError(msg) from error
    if slice_axis is not None:
        _check_slices(dim, path, slice_axis)
    prior = DRUNetPrior(config)
    try:
        prior.drunet.load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"denoiser must hold the weights of deepinv's DRUNet, got {path}: {reason}"
        raise InputError(msg) from error
    return prior


def _check_slices(dim: int | None, path: Path, slice_axis: int) -> None:
    if dim == 3:
        msg = f"slice_axis must be left out with a 3-D denoiser, got {slice_axis} with {path}"
        raise InputError(msg)


def _part_by_part(network: nn.Module) -> Denoise:
    """Return a denoiser of real patches that takes complex ones, too."""

    def denoise(x: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        if not x.is_complex():
            return network(x, levels)
        return torch.complex(network(x.real, levels), network(x.imag, levels))

    return denoise
