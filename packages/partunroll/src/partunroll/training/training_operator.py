"""TrainingOperator: an operator of a data store together with its factor file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normalfit.factor_file import FactorFile, open_factors
from partunroll.errors import InputError, MismatchError
from partunroll.factor_match import OperatorFacts, check_factors
from partunroll.network.checkpoint import TrainedOperator
from partunroll.objects.object_sources import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from normalfit.specs import OperatorSpec
    from partunroll.store.data_store_header import SampleInfo


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
        Factor file that was fitted to it, opened; another one where that was allowed.
    norm
        Spectral norm of ``A*A``, by which gradients and factors are divided: that of the
        factors, or of the checkpoint that is resumed.
    notes
        In what the factors are those of another operator, a sentence each; that was allowed.
    """

    name: str
    spec: OperatorSpec
    factors: FactorFile
    norm: float
    notes: tuple[str, ...] = ()

    @property
    def factor_digest(self) -> str:
        """SHA-256 of what the factor file says about its fit: another fit has another."""
        return factor_digest(self.factors)

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
        return TrainedOperator(self.name, self.spec.fingerprint, self.norm, method, window)


def factor_digest(file: FactorFile) -> str:
    """Return the SHA-256 of what a factor file says about its fit: another fit has another."""
    told = file.header.model_dump_json(include=_TELLING)
    return hashlib.sha256(told.encode()).hexdigest()


def match_factor_files(
    operators: Mapping[str, OperatorSpec],
    paths: Sequence[Path],
    *,
    data: Path | str = "the data",
    checkpoint: Path | str = "the checkpoint",
    trained: Sequence[TrainedOperator] = (),
    allow_mismatch: bool = False,
) -> tuple[TrainingOperator, ...]:
    """Pair every operator of a data store with its factor file, and compare the two.

    Files are paired by fingerprint; those left over by their names, and one that is left over
    with the one operator that is. Such pairs differ, and are refused unless that is allowed.

    Parameters
    ----------
    operators
        Specifications by name.
    paths
        Factor files.
    data, checkpoint
        Files of `operators` and of `trained`, for messages.
    trained
        Operators of the checkpoint that is resumed; their norms are kept.
    allow_mismatch
        As for `check_factors`.

    Raises
    ------
    InputError
        Two files belong to the same operator.
    MismatchError
        An operator has no file, or a file no operator; all are named with their fingerprints.
        Or a pair differs in what is not allowed.
    FactorFileError
        A file cannot be read.
    """
    pairs = _paired(operators, _opened(paths))
    resumed = {operator.name: operator for operator in trained}
    known = []
    for name, spec in operators.items():
        facts = [OperatorFacts.of_spec(f"operator {name} of the data", str(data), spec)]
        if name in resumed:
            run, before = f"operator {name} of the run", resumed[name]
            facts.append(OperatorFacts(run, str(checkpoint), before.fingerprint, before.norm))
        known.append((pairs[name], facts))
    notes = check_factors(known, allow_mismatch=allow_mismatch)
    norms = [resumed[n].norm if n in resumed else pairs[n].norm.value for n in operators]
    return tuple(
        TrainingOperator(name, spec, pairs[name], norm, allowed)
        for (name, spec), norm, allowed in zip(operators.items(), norms, notes, strict=True)
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


def _opened(paths: Sequence[Path]) -> tuple[FactorFile, ...]:
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
    return tuple(files.values())


def _paired(
    operators: Mapping[str, OperatorSpec], files: Sequence[FactorFile]
) -> dict[str, FactorFile]:
    """Return the file of every operator, by fingerprint, by name, or because it is the last."""
    by_fingerprint = {file.fingerprint: file for file in files}
    pairs = {
        name: by_fingerprint[spec.fingerprint]
        for name, spec in operators.items()
        if spec.fingerprint in by_fingerprint
    }
    left = [file for file in files if file not in pairs.values()]
    by_name = {safe_name(file.path): file for file in left}
    pairs |= {n: by_name[n] for n in operators if n not in pairs and n in by_name}
    left = [file for file in left if file not in pairs.values()]
    missing = [name for name in operators if name not in pairs]
    if len(left) == len(missing) == 1:
        return {**pairs, missing[0]: left[0]}
    if left or missing:
        raise MismatchError(_mismatch(operators, files))
    return pairs


def _mismatch(operators: Mapping[str, OperatorSpec], files: Sequence[FactorFile]) -> str:
    wanted = ", ".join(f"{name} ({spec.fingerprint[:12]})" for name, spec in operators.items())
    got = ", ".join(f"{file.path} ({file.fingerprint[:12]})" for file in files)
    return (
        f"factors must be one file for each operator of the data, {wanted}, got {got}; fit the "
        "operators of the data store, or leave out the data, or with --allow-mismatch name the "
        "files after the operators"
    )
