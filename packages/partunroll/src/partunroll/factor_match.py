"""check_factors: refuses factors of another operator, grid or norm, or says what was allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from partunroll.errors import MismatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.factor_file import FactorFile
    from normalfit.specs import OperatorSpec

NORM_TOLERANCE = 1e-6  # relative; a fit writes its norm in full, so more is another norm
_VOXEL_TOLERANCE = 1e-6
_SHOWN = 12  # letters of a fingerprint
_GRID = "grid"


@dataclass(frozen=True)
class OperatorFacts:
    """What is known about an operator, and where; None is not compared.

    Parameters
    ----------
    whose
        In words, for messages: 'the operator', 'the training'.
    file
        The file that says so.
    fingerprint
        Of the operator.
    norm
        Spectral norm of ``A*A``.
    shape
        Voxels per axis of its grid.
    voxel_mm
        Sides of a voxel, one per axis; None where they have no size or nothing is said.
    """

    whose: str
    file: str
    fingerprint: str
    norm: float | None = None
    shape: tuple[int, ...] | None = None
    voxel_mm: tuple[float, ...] | None = None

    @classmethod
    def of_spec(cls, whose: str, file: str, spec: OperatorSpec) -> OperatorFacts:
        """Return what a specification says: all but the norm."""
        grid = spec.grid
        return cls(whose, file, spec.fingerprint, None, grid.shape, grid.voxel_mm)

    @classmethod
    def of_factors(cls, file: FactorFile) -> OperatorFacts:
        """Return what a factor file says."""
        facts = file.shape, file.header.voxel_mm
        return cls("the factors", str(file.path), file.fingerprint, file.norm.value, *facts)


@dataclass(frozen=True)
class Difference:
    """One thing in which factors are not those of an operator.

    Parameters
    ----------
    name
        What differs: 'fingerprint', 'grid', 'voxel size' or 'norm'.
    wanted, got
        Both values with the files that they stand in, in words.
    """

    name: str
    wanted: str
    got: str

    def sentence(self, verb: str) -> str:
        """Return it in words, with 'must' or 'should'."""
        return f"{self.name} of the factors {verb} be the one of {self.wanted}, got {self.got}"


def check_factors(
    pairs: Sequence[tuple[FactorFile, Sequence[OperatorFacts]]], *, allow_mismatch: bool
) -> tuple[tuple[str, ...], ...]:
    """Compare factors with all that is known of the operators they are used for.

    Parameters
    ----------
    pairs
        Factors, each with what data, specification and checkpoint say about its operator.
    allow_mismatch
        Accept another fingerprint, voxel size and norm. Never another grid: its factors cannot
        be applied.

    Returns
    -------
    tuple
        For each pair a sentence for every difference that was allowed.

    Raises
    ------
    MismatchError
        A difference is not allowed; every one is named with both values and both files.
    """
    found = [_differences_of(file, operators) for file, operators in pairs]
    told = [difference for differences_of_pair in found for difference in differences_of_pair]
    other_grid = any(difference.name == _GRID for difference in told)
    if other_grid or (told and not allow_mismatch):
        remedy = "give the factors of this operator"
        if not other_grid:
            remedy += ", or use these all the same with --allow-mismatch"
        msg = "; ".join([*(difference.sentence("must") for difference in told), remedy])
        raise MismatchError(msg)
    return tuple(tuple(f"{d.sentence('should')}; allowed" for d in pair) for pair in found)


def _differences_of(file: FactorFile, operators: Sequence[OperatorFacts]) -> tuple[Difference, ...]:
    factors = OperatorFacts.of_factors(file)
    return tuple(d for operator in operators for d in differences(operator, factors))


def differences(wanted: OperatorFacts, got: OperatorFacts) -> tuple[Difference, ...]:
    """Return in what two operators differ, of what both say."""
    found = [
        ("fingerprint", wanted.fingerprint[:_SHOWN], got.fingerprint[:_SHOWN])
        if wanted.fingerprint != got.fingerprint
        else None,
        _unequal(_GRID, wanted.shape, got.shape, 0.0),
        _unequal("voxel size", wanted.voxel_mm, got.voxel_mm, _VOXEL_TOLERANCE),
        _unequal("norm", _one(wanted.norm), _one(got.norm), NORM_TOLERANCE),
    ]
    return tuple(
        Difference(name, f"{wanted.whose}, {a} in {wanted.file}", f"{b} in {got.file}")
        for name, a, b in filter(None, found)
    )


def _one(value: float | None) -> tuple[float] | None:
    return None if value is None else (value,)


def _unequal(
    name: str,
    wanted: tuple[float, ...] | None,
    got: tuple[float, ...] | None,
    tolerance: float,
) -> tuple[str, str, str] | None:
    """Return name and both values in words, unless they agree or one of them is not known."""
    if wanted is None or got is None:
        return None
    same = len(wanted) == len(got) and all(
        math.isclose(a, b, rel_tol=tolerance) for a, b in zip(wanted, got, strict=True)
    )
    return None if same else (name, _shown(wanted), _shown(got))


def _shown(values: tuple[float, ...]) -> str:
    return " × ".join(f"{value:.9g}" for value in values)
