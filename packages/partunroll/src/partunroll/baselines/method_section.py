"""MethodSection: a baseline with its options, as a part of a YAML file: what every kind has."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from partunroll.configuration.config_section import Section

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress

    from partunroll.baselines.problem import Problem

Candidates = Mapping[str, Sequence[Any]]


class MethodSection(Section, abc.ABC):
    """A subclass sets ``kind: Literal[NAME] = NAME``, its options, and how it reconstructs.

    Attributes
    ----------
    candidates
        Values by option that are tried where it is chosen on validation samples.
    needs_norm, needs_estimate
        Whether it looks at the norm of ``A*A`` and at the initial estimate, which cost
        applications of ``A*A``.
    """

    candidates: ClassVar[Candidates] = {}
    needs_norm: ClassVar[bool] = True
    needs_estimate: ClassVar[bool] = True

    kind: str

    @abc.abstractmethod
    def reconstruct(self, problem: Problem, *, progress: Progress | None = None) -> torch.Tensor:
        """Return ``x``, ``(*domain)``, on the device of the measurements.

        Parameters
        ----------
        problem
            What is reconstructed.
        progress
            Where to show a bar; None: nowhere.

        Raises
        ------
        InputError
            The method does not suit the problem, or one of its files cannot be used.
        """

    def prepare(self, device: torch.device) -> None:
        """Import and read what every reconstruction needs, so that no time of one counts it.

        Nothing has to be prepared: what was not is read by `reconstruct`.

        Parameters
        ----------
        device
            Where it will reconstruct.

        Raises
        ------
        InputError
            One of its files cannot be used.
        """
        del device

    @property
    def keeps_phase(self) -> bool:
        """Whether ``A x`` means something: false for a root of a sum of squares."""
        return True

    def __str__(self) -> str:
        """Return the method in words: its kind and its options."""
        options = ", ".join(
            f"{name.replace('_', ' ')} {_worded(getattr(self, name))}"
            for name in type(self).model_fields
            if name != "kind" and getattr(self, name) is not None
        )
        return f"{self.kind}, {options}" if options else self.kind


def _worded(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return " ".join(_worded(part) for part in value)
    return str(value)
