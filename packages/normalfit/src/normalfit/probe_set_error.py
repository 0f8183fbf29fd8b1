"""probe_set_error: how far an approximation is from responses that are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normalfit.energy import energy
from normalfit.estimate import relative_error_estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from normalfit.estimate import Estimate
    from normalfit.probes import ProbeSet


def probe_set_error(
    probe_set: ProbeSet, approximation: Callable[[torch.Tensor], torch.Tensor]
) -> Estimate:
    """Return ``‖N - B‖_F / ‖N‖_F`` from probes whose responses are known.

    Raises
    ------
    InputError
        There are fewer than two probes that ``N`` responds to.
    """
    return relative_error_estimate(*probe_energies(probe_set, approximation))


def probe_energies(
    probe_set: ProbeSet, approximation: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[list[float], list[float]]:
    """Return ``|(N - B) w|²`` and ``|N w|²`` of every probe."""
    errors, references = [], []
    for w, response in zip(probe_set.probes, probe_set.responses, strict=True):
        errors.append(energy(response - approximation(w)))
        references.append(energy(response))
    return errors, references
