"""TrainedOn: the operators, factors and data of a run, which a resumed run must have again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partunroll.errors import InputError, MismatchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from partunroll.network.checkpoint import TrainedOperator


@dataclass(frozen=True)
class TrainedOn:
    """What a network is trained on.

    Parameters
    ----------
    operators
        Those that have training samples.
    samples
        Ids of the training samples.
    data
        `DataStore.digest`.
    factors
        `TrainingOperator.factor_digest` by operator.
    any_factors
        Whether a run may go on with factors of another fit, as its user has allowed.
    """

    operators: tuple[TrainedOperator, ...]
    samples: tuple[str, ...]
    data: str
    factors: Mapping[str, str]
    any_factors: bool = False

    def as_plain_data(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside the operators."""
        return {
            "samples": list(self.samples),
            "data": self.data,
            "factors": dict(self.factors),
        }

    def check_same(self, operators: Sequence[TrainedOperator], kept: Mapping[str, Any]) -> None:
        """Raise unless a checkpoint was trained on the same.

        Parameters
        ----------
        operators
            Of the checkpoint.
        kept
            What `as_plain_data` gave; earlier checkpoints kept no digests of the factors.

        Raises
        ------
        MismatchError
            The operators are others, or of another norm, or their factors are of another fit.
        InputError
            The samples or the data are others.
        KeyError
            Something is missing in `kept`.
        """
        if tuple(operators) != self.operators:
            msg = (
                f"operators must be those of the run, {_named(operators)}, "
                f"got {_named(self.operators)}"
            )
            raise MismatchError(msg)
        for name, digest in kept.get("factors", {}).items():
            if self.factors.get(name) != digest and not self.any_factors:
                msg = (
                    f"factors of {name} must be those of the run to resume it, of fit "
                    f"{digest[:12]}, got fit {self.factors.get(name, 'none')[:12]}; give the "
                    "factor file of the run"
                )
                raise MismatchError(msg)
        samples, data = tuple(kept["samples"]), kept["data"]
        if samples != self.samples:
            msg = (
                f"data must be those of the run to resume it, with training samples {samples}, "
                f"got {self.samples}"
            )
            raise InputError(msg)
        if data != self.data:
            msg = (
                f"data must be those of the run to resume it, {data[:12]}, got others with "
                f"samples of the same names, {self.data[:12]}; give the data store of the run"
            )
            raise InputError(msg)


def _named(operators: Sequence[TrainedOperator]) -> str:
    return ", ".join(
        f"{o.name} ({o.fingerprint[:12]}, norm {o.norm:.6g}, initial estimates by "
        f"{o.initial_method}{f', window {o.initial_window}' if o.initial_window else ''})"
        for o in operators
    )
