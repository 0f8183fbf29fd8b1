"""match_reconstruction: the trained operator, the factors and the norm that a scan is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from normalfit.factor_file import open_factors
from partunroll.errors import MismatchError
from partunroll.factor_match import OperatorFacts, check_factors
from partunroll.objects.object_sources import safe_name

if TYPE_CHECKING:
    from pathlib import Path

    from normalfit.factor_file import FactorFile
    from normalfit.specs import OperatorSpec
    from partunroll.network.checkpoint import Checkpoint, TrainedOperator


@dataclass(frozen=True)
class Matched:
    """What belongs to the operator that measured.

    Parameters
    ----------
    trained
        The operator of the training that it is, or stands for.
    factors
        Its factors; None where none were given.
    norm
        By which gradients are divided: that of the training where the network knows the
        operator, else that of factors which were fitted to it, else that of `trained`.
    notes
        What was allowed, a sentence each.
    """

    trained: TrainedOperator
    factors: FactorFile | None
    norm: float
    notes: tuple[str, ...]


def match_reconstruction(
    spec: OperatorSpec,
    checkpoint: Checkpoint,
    factors: Path | None,
    *,
    operator_file: Path | None,
    checkpoint_file: Path,
    allow_mismatch: bool,
) -> Matched:
    """Find out whether operator, checkpoint and factors belong together.

    Parameters
    ----------
    spec, operator_file
        The operator that measured, and the file it was read from.
    checkpoint, checkpoint_file
        The network, and its file.
    factors
        A factor file, or None.
    allow_mismatch
        Accept an operator that the network was not trained with, in the place of the one that
        bears the name of the operator's or the factors' file, or of the only one; and factors
        of another fingerprint, voxel size or norm.

    Raises
    ------
    MismatchError
        They do not belong together, and it is not allowed; values and files are named.
    FactorFileError
        The factors cannot be read.
    """
    trained, notes = _trained(
        spec, checkpoint, (operator_file, factors), checkpoint_file, allow_mismatch=allow_mismatch
    )
    if factors is None:
        return Matched(trained, None, trained.norm, notes)
    file = open_factors(factors)
    known = [
        OperatorFacts.of_spec("the operator", str(operator_file or "its specification"), spec),
        OperatorFacts("the training", str(checkpoint_file), trained.fingerprint, trained.norm),
    ]
    (allowed,) = check_factors([(file, known)], allow_mismatch=allow_mismatch)
    fitted_to_it = file.fingerprint == spec.fingerprint != trained.fingerprint
    norm = file.norm.value if fitted_to_it else trained.norm
    return Matched(trained, file, norm, notes + allowed)


def _trained(
    spec: OperatorSpec,
    checkpoint: Checkpoint,
    named_after: tuple[Path | None, ...],
    checkpoint_file: Path,
    *,
    allow_mismatch: bool,
) -> tuple[TrainedOperator, tuple[str, ...]]:
    """Return the trained operator, and what was allowed to take it."""
    by_fingerprint = {operator.fingerprint: operator for operator in checkpoint.operators}
    if spec.fingerprint in by_fingerprint:
        return by_fingerprint[spec.fingerprint], ()
    known = ", ".join(f"{o.name} ({o.fingerprint[:12]})" for o in checkpoint.operators)
    where = "" if named_after[0] is None else f" in {named_after[0]}"
    told = (
        f"be one the checkpoint was trained with, {known} in {checkpoint_file}, "
        f"got fingerprint {spec.fingerprint[:12]}{where}"
    )
    if not allow_mismatch:
        remedy = "give the operator of the training, or use this one with --allow-mismatch"
        msg = f"operator must {told}; {remedy}"
        raise MismatchError(msg)
    by_name = {operator.name: operator for operator in checkpoint.operators}
    names = [safe_name(path) for path in named_after if path is not None]
    found = [by_name[name] for name in names if name in by_name]
    if not found and len(by_name) > 1:
        remedy = "name its file after the one that it stands for"
        msg = f"operator must {told}; {remedy}"
        raise MismatchError(msg)
    trained = found[0] if found else checkpoint.operators[0]
    return trained, (f"operator should {told}; allowed in the place of {trained.name}",)
