"""choose_on_store: the options of a baseline that suit a data store's validation samples best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from partunroll.baselines.choice import Choice, choose
from partunroll.baselines.method import KINDS
from partunroll.baselines.problem import Problem
from partunroll.errors import InputError
from partunroll.store.data_store import DataStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.progress import Progress

    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec


def choose_on_store(
    document: Mapping[str, Any],
    candidates: Mapping[str, Sequence[Any]] | None,
    store_path: Path,
    spec: OperatorSpec,
    operator: LinearOperator,
    norm: float,
    *,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Choice:
    """Return a method with the options that reach the highest mean PSNR on a data store.

    Parameters
    ----------
    document, candidates
        As for `choose`; without candidates the usual ones of the kind, of the options that the
        document leaves open.
    store_path
        The data store, in whose units the options are then.
    spec, operator, norm
        Of the samples: those of its operator in the split 'validation' are used.

    Raises
    ------
    InputError
        There is no such sample, or nothing to choose.
    """
    usual = KINDS[document["kind"]].candidates
    wanted = candidates or {name: v for name, v in usual.items() if name not in document}
    if not wanted:
        msg = (
            f"candidates must be given to choose options of {document['kind']} on validation "
            "samples, got none; name them with --try, as in --try iterations=[10,20]"
        )
        raise InputError(msg)
    store = DataStore.open(store_path)
    names = [name for name, mark in store.fingerprints.items() if mark == spec.fingerprint]
    ids = [sample.id for sample in store.split("validation") if sample.operator in names]
    if not ids:
        known = ", ".join(f"{name} ({mark[:12]})" for name, mark in store.fingerprints.items())
        msg = (
            f"validation {store_path} must hold samples of the split 'validation' of the operator "
            f"{spec.fingerprint[:12]}, got none; its operators are {known}"
        )
        raise InputError(msg)

    def array(sample: str, name: str) -> torch.Tensor:
        return torch.from_numpy(store.read(sample, name)).to(device)

    problems = [
        Problem(
            operator,
            array(sample, "measurements"),
            norm,
            array(sample, "initial_estimate"),
            fingerprint=spec.fingerprint,
        )
        for sample in ids
    ]
    references = [array(sample, "reference") for sample in ids]
    return choose(document, wanted, problems, references, progress=progress)
