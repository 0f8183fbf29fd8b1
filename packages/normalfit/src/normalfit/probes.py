"""Probes: seeded Gaussian volumes ``w``, and the responses ``N w`` that fits and errors use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from normalfit.energy import energy
from normalfit.errors import InputError
from normalfit.progress import no_progress
from normalfit.response_folder import LazyTensors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normalfit.progress import Progress
    from normalfit.response_folder import ResponseFolder

VOXELS_AT_ONCE = 2**19  # 2 MB of volumes, and what an operator makes of them (32 coils: 128 MB)
MOST_AT_ONCE = 64  # an interrupted fit loses no more responses than that

Stream = Literal[
    "training",
    "held-out",
    "evaluation",
    "patches",
    "patch places",
    "norm",
    "check",
    "start",
    "fresh evaluation",
    "fresh patches",
    "fresh patch places",
    "smooth training",
]
"""What a probe is for. Probes of different streams are independent under one seed.

The order fixes the numbers: new ones go to the end.
"""


@dataclass(frozen=True, eq=False)
class ProbeSet:
    """Probes with their responses; indexing and iteration run over the probes.

    Parameters
    ----------
    probes
        ``w``, one tensor ``(*shape)`` per probe, or a tensor ``(probe, *shape)``.
    responses
        ``N w`` in the same order.

    Raises
    ------
    InputError
        The set is empty, or probes and responses do not match.
    """

    probes: torch.Tensor | Sequence[torch.Tensor]
    responses: torch.Tensor | Sequence[torch.Tensor]

    def __post_init__(self) -> None:
        if len(self.probes) != len(self.responses) or len(self.probes) == 0:
            msg = (
                "probes must be as many as responses and at least one, "
                f"got {len(self.probes)} probes and {len(self.responses)} responses"
            )
            raise InputError(msg)
        if isinstance(self.probes, LazyTensors):
            return  # of the shape that they say, without being made
        for index, (w, response) in enumerate(zip(self.probes, self.responses, strict=True)):
            if w.shape != response.shape:
                msg = (
                    f"response {index} must have the probe's shape {tuple(w.shape)}, "
                    f"got {tuple(response.shape)}"
                )
                raise InputError(msg)

    def __len__(self) -> int:
        return len(self.probes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid."""
        return tuple(self.probes[0].shape)

    @cached_property
    def response_energy(self) -> float:
        """Mean of ``|N w|²`` per voxel and probe.

        Raises
        ------
        InputError
            It is zero: there is nothing to fit.
        """
        total = sum(energy(response) for response in self.responses)
        if total == 0:
            msg = f"operator must respond to at least one probe, got A*A w = 0 for {len(self)}"
            raise InputError(msg)
        return total / (len(self) * math.prod(self.shape))

    def scaled(self, factor: float) -> ProbeSet:
        """Return the set of ``factor · N``; a response is multiplied whenever it is asked for."""
        responses = LazyTensors(lambda i: self.responses[i] * factor, len(self), self.shape)
        return ProbeSet(self.probes, responses)


def generator(seed: int, stream: Stream, index: int) -> torch.Generator:
    """Return the CPU generator of one probe: it does not depend on how many are drawn.

    Raises
    ------
    InputError
        The seed is negative.
    """
    if seed < 0:
        msg = f"seed must be zero or more, got {seed}"
        raise InputError(msg)
    entropy = np.random.SeedSequence([seed, get_args(Stream).index(stream), index])
    return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))


def draw_probe(
    shape: tuple[int, ...],
    *,
    seed: int,
    stream: Stream,
    index: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return one standard Gaussian volume of `shape`, circular complex for a complex dtype.

    Complex ones have ``E |w|² = 1`` and ``E w² = 0``. It is drawn in single precision on the
    CPU and then moved, so every device and precision gets the same numbers.
    """
    draw = generator(seed, stream, index)
    single = torch.complex64 if dtype.is_complex else torch.float32
    return torch.randn(shape, generator=draw, dtype=single).to(device, dtype)


def respond(normal: Callable[[torch.Tensor], torch.Tensor], w: torch.Tensor) -> torch.Tensor:
    """Return ``N w``, in the dtype of `w`, whatever the operator computes in.

    Raises
    ------
    InputError
        It holds NaN or infinity, or is complex for a real probe.
    """
    response = normal(w)
    check_real("A*A w", response, w)
    if not bool(torch.isfinite(response).all()):
        msg = "operator must return finite values, got NaN or infinity for a Gaussian probe"
        raise InputError(msg)
    return response.to(w.dtype)


def check_real(name: str, result: torch.Tensor, probe: torch.Tensor) -> None:
    """Raise InputError where an operator makes a real probe complex."""
    if result.is_complex() and not probe.is_complex():
        msg = (
            f"{name} must be real for a real probe, got {result.dtype}; "
            "set is_complex on the operator, or ask for a complex dtype"
        )
        raise InputError(msg)


def default_batch(shape: tuple[int, ...]) -> int:
    """Return how many probes to apply ``N`` to at once: 2^19 voxels, 64 probes at most.

    Operators share work between the volumes of a batch: 32 slices of 128² and 60 views of a fan
    beam take 1 ms each, one alone 21 ms.
    """
    return max(1, min(MOST_AT_ONCE, VOXELS_AT_ONCE // math.prod(shape)))


def collect_responses(
    normal: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    count: int,
    *,
    seed: int,
    stream: Stream,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    folder: ResponseFolder | None = None,
    batch: int = 1,
    draw: Callable[..., torch.Tensor] = draw_probe,
    progress: Progress = no_progress,
) -> ProbeSet:
    """Draw `count` probes and apply ``N`` to each; `count` applications of N.

    Parameters
    ----------
    normal
        ``N`` on ``(*shape)``; on ``(batch, *shape)`` where `batch` is more than one.
    folder
        Where the responses are kept: those that it holds are not computed again, and neither
        they nor the probes stay in memory. None keeps both in memory.
    batch
        Probes that ``N`` is applied to at once.
    draw
        Makes a probe, with the arguments of `draw_probe`.

    Raises
    ------
    InputError
        `count` or `batch` is not positive, ``N`` returns NaN, infinity or complex values for a
        real probe, or the folder cannot be used.
    MismatchError
        The folder holds responses of another operator.
    """
    if batch < 1:
        msg = f"batch must be at least 1, got {batch}"
        raise InputError(msg)

    def probe(index: int) -> torch.Tensor:
        return draw(shape, seed=seed, stream=stream, index=index, device=device, dtype=dtype)

    stored = None if folder is None else folder.responses(shape, dtype, stream, seed)
    probes: list[torch.Tensor] = []
    responses: list[torch.Tensor] = []
    missing = [i for i in range(count) if stored is None or not stored.has(i)]
    for first in range(0, len(missing), batch):
        indices = missing[first : first + batch]
        drawn = [probe(index) for index in indices]
        found = [respond(normal, drawn[0])] if batch == 1 else respond(normal, torch.stack(drawn))
        for index, w, response in zip(indices, drawn, found, strict=True):
            if stored is None:
                probes.append(w)
                responses.append(response)
            else:
                stored.write(index, response)
        done = count - len(missing) + first + len(indices)
        progress(f"{stream} probes", done, count, "")
    if stored is None:
        return ProbeSet(probes, responses)
    return ProbeSet(
        LazyTensors(probe, count, shape),
        LazyTensors(lambda index: stored.read(index).to(device), count, shape),
    )
