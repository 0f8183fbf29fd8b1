"""TrainingOperator: an operator of a data store together with its factor file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normalfit.factor_file import FactorFile, open_factors
from partunroll.checkpoint import TrainedOperator
from partunroll.errors import InputError, MismatchError
from partunroll.object_sources import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from normalfit.specs import OperatorSpec
    from partunroll.data_store_header import SampleInfo


_TELLING = {"fingerprint", "norm", "report", "created"}  # a copy or a migrated file keeps these


@dataclass(frozen=True)
class TrainingOperator:
    """An operator, its name in the data store, and its factors. May be sent to workers.

    Parameters
    ----------
    name
        Name in the data store.
    spec
        Specification.
    factors
        Factor file that was fitted to it, opened.
    """

    name: str
    spec: OperatorSpec
    factors: FactorFile

    @property
    def norm(self) -> float:
        """Spectral norm of ``A*A``, by which gradients and factors are divided."""
        return self.factors.norm.value

    @property
    def factor_digest(self) -> str:
        """SHA-256 of what the factor file says about its fit: another fit has another."""
        told = self.factors.header.model_dump_json(include=_TELLING)
        return hashlib.sha256(told.encode()).hexdigest()

    def trained_on(self, samples: Iterable[SampleInfo]) -> TrainedOperator:
        """Return what a checkpoint keeps of it.

        Parameters
        ----------
        samples
            Samples of the data store; those of other operators are passed over.

        Raises
        ------
        InputError
            Its samples have initial estimates of several kinds, or there is none.
        """
        kinds = {(s.initial_method, s.initial_window) for s in samples if s.operator == self.name}
        if len(kinds) != 1:
            msg = (
                f"samples of operator {self.name} must have initial estimates of one kind, got "
                f"{sorted(map(str, kinds))}; make the data store again"
            )
            raise InputError(msg)
        ((method, window),) = kinds
        return TrainedOperator(self.name, self.factors.fingerprint, self.norm, method, window)


def match_factor_files(
    operators: Mapping[str, OperatorSpec], paths: Sequence[Path]
) -> tuple[TrainingOperator, ...]:
    """Pair every operator of a data store with the factor file of its fingerprint.

    Raises
    ------
    InputError
        Two files belong to the same operator.
    MismatchError
        An operator has no file, or a file no operator; all are named with their fingerprints.
    FactorFileError
        A file cannot be read.
    """
    if not paths:
        msg = "factors must be at least one file, got none"
        raise InputError(msg)
    files: dict[str, FactorFile] = {}
    for path in paths:
        file = open_factors(path)
        if file.fingerprint in files:
            other = files[file.fingerprint].path
            msg = f"factors must be of different operators, got {other} and {path} of the same"
            raise InputError(msg)
        files[file.fingerprint] = file
    known = {spec.fingerprint for spec in operators.values()}
    matched = known == set(files)
    if not matched:
        raise MismatchError(_mismatch(operators, files))
    return tuple(
        TrainingOperator(name, spec, files[spec.fingerprint]) for name, spec in operators.items()
    )


def operators_of(paths: Sequence[Path]) -> dict[str, OperatorSpec]:
    """Return the operators that factor files hold, named after the files.

    Raises
    ------
    InputError
        A file holds no operator, or two files have one name.
    FactorFileError
        A file cannot be read.
    """
    operators: dict[str, OperatorSpec] = {}
    for path in paths:
        spec = open_factors(path).spec
        if spec is None:
            msg = f"factors must hold their operator to train without data, got {path} without"
            raise InputError(msg)
        name = safe_name(path)
        if name in operators:
            msg = f"factor files must have different names, got {name} twice; rename one"
            raise InputError(msg)
        operators[name] = spec
    return operators


def _mismatch(operators: Mapping[str, OperatorSpec], files: Mapping[str, FactorFile]) -> str:
    wanted = ", ".join(f"{name} ({spec.fingerprint[:12]})" for name, spec in operators.items())
    got = ", ".join(f"{file.path} ({fingerprint[:12]})" for fingerprint, file in files.items())
    return (
        f"factors must be one file for each operator of the data, {wanted}, got {got or 'none'}; "
        "fit the operators of the data store, or leave out the data"
    )
