"""choose: the options of a baseline that suit validation samples best, by mean PSNR."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from partunroll.baselines.method import parse_method
from partunroll.errors import InputError, NotFiniteError
from partunroll.volumes.image_metrics import Comparison

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from rich.progress import Progress

    from partunroll.baselines.method import Method
    from partunroll.baselines.problem import Problem


def whole_psnr(x: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the PSNR in dB of a whole volume, by the range of its reference."""
    return Comparison.with_reference(reference).psnr(x, reference)


@dataclass(frozen=True)
class Tried:
    """Options that were tried, and the mean PSNR in dB that they reached: −∞ if they diverged."""

    options: Mapping[str, Any]
    psnr: float

    def __str__(self) -> str:
        words = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"{words}: {self.psnr:.2f} dB" if math.isfinite(self.psnr) else f"{words}: diverged"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, the figure of what diverged as None."""
        psnr = self.psnr if math.isfinite(self.psnr) else None
        return {"options": dict(self.options), "psnr": psnr}


@dataclass(frozen=True)
class Choice:
    """The method with the best options, and all that were tried.

    Parameters
    ----------
    document
        The method's document with the best options in it.
    tried
        Every combination, in the order of the candidates.
    """

    document: Mapping[str, Any]
    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried:
        """The options that were chosen."""
        return max(self.tried, key=lambda tried: tried.psnr)

    def as_json(self) -> dict[str, Any]:
        """Return the choice as JSON values."""
        return {"method": dict(self.document), "tried": [t.as_json() for t in self.tried]}


def choose(
    document: Mapping[str, Any],
    candidates: Mapping[str, Sequence[Any]],
    problems: Sequence[Problem],
    references: Sequence[torch.Tensor],
    *,
    psnr: Callable[[torch.Tensor, torch.Tensor], float] = whole_psnr,
    progress: Progress | None = None,
) -> Choice:
    """Return a method with the options whose mean PSNR over validation samples is the highest.

    Costs one reconstruction per problem and combination of values. Options that let a method
    diverge are not chosen.

    Parameters
    ----------
    document
        A method, as for `parse_method`.
    candidates
        Values to try by option, ``{"weight": [1e-4, 1e-3]}``; of several options, every
        combination.
    problems, references
        Validation samples and their truths, ``(*domain)``.
    psnr
        What is to be high, of a reconstruction and its truth.

    Raises
    ------
    InputError
        There is nothing to choose from or nothing to choose on, or an option is not valid.
    NotFiniteError
        The method diverges with all of them.
    """
    if not candidates or not all(candidates.values()):
        msg = f"candidates must hold values to try for an option or more, got {dict(candidates)}"
        raise InputError(msg)
    if not problems or len(problems) != len(references):
        msg = (
            "problems must be one or more, each with its reference, "
            f"got {len(problems)} problems and {len(references)} references"
        )
        raise InputError(msg)
    combinations = [
        dict(zip(candidates, values, strict=True))
        for values in itertools.product(*candidates.values())
    ]
    # before the first is tried, so that an invalid one costs nothing
    methods = [parse_method({**document, **options}) for options in combinations]
    tried = []
    for options, method in zip(combinations, methods, strict=True):
        figures = [
            _figure(method, problem, reference, psnr, progress)
            for problem, reference in zip(problems, references, strict=True)
        ]
        tried.append(Tried(options, -math.inf if -math.inf in figures else fmean(figures)))
    best = max(tried, key=lambda candidate: candidate.psnr)
    if best.psnr == -math.inf:
        msg = f"reconstruction must be finite with some candidate, got {tried[0]} and all others"
        raise NotFiniteError(msg)
    return Choice({**document, **best.options}, tuple(tried))


def _figure(
    method: Method,
    problem: Problem,
    reference: torch.Tensor,
    psnr: Callable[[torch.Tensor, torch.Tensor], float],
    progress: Progress | None,
) -> float:
    """Return the PSNR of a reconstruction; −∞ where it is not finite."""
    try:
        x = method.reconstruct(problem, progress=progress)
    except NotFiniteError:
        return -math.inf
    figure = psnr(x, reference)
    return -math.inf if math.isnan(figure) else figure
