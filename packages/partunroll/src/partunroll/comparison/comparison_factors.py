"""fit_factors: the factor files of a comparison, fitted once and used by every row."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normalfit.factor_file import open_factors
from normalfit.fit_to_file import fit_to_file
from partunroll.comparison.content_key import content_key
from partunroll.completed_parts import CompletedParts
from partunroll.training.training_operator import factor_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.progress import Progress

    from normalfit.specs import OperatorSpec
    from partunroll.comparison.recipe import FitSection


@dataclass(frozen=True)
class FittedFactors:
    """The factor files of one fit, by operator.

    Parameters
    ----------
    files
        Their paths.
    seconds
        How long each fit took; None where it was not recorded.
    """

    files: Mapping[str, Path]
    seconds: Mapping[str, float | None]

    @property
    def digests(self) -> dict[str, str]:
        """What each file says about its fit, as a hash: another fit has another."""
        opened = ((name, open_factors(path)) for name, path in self.files.items())
        return {n: factor_digest(f) for n, f in opened}

    def as_json(self) -> dict[str, object]:
        """Return files, times and errors."""
        return {
            name: {
                "file": str(path),
                "seconds": self.seconds[name],
                "norm": open_factors(path).norm.value,
                "grid_error": open_factors(path).metadata.report.get("grid_error"),
            }
            for name, path in self.files.items()
        }


def fit_factors(
    fit: FitSection,
    operators: Mapping[str, OperatorSpec],
    folder: Path,
    device: str,
    progress: Progress | None = None,
) -> FittedFactors:
    """Return the factors of every operator; those that are in `folder` are not fitted again.

    Raises
    ------
    InputError
        normalfit's, where an option or an operator does not allow the fit.
    """
    files = _files(fit, operators, folder)
    for name, path in files.items():
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        responses = path.with_name("responses")
        started = time.perf_counter()
        fit_to_file(
            operators[name],
            path,
            responses=None if fit.method == "direct" else responses,
            device=device,
            command="partunroll compare",
            progress=progress,
            **fit.arguments(),
        )
        shutil.rmtree(responses, ignore_errors=True)
        CompletedParts(path.parent).write("fit", {"seconds": time.perf_counter() - started})
    return _fitted(files)


def fitted_before(
    fit: FitSection, operators: Mapping[str, OperatorSpec], folder: Path
) -> FittedFactors | None:
    """Return the factors of every operator if all are in `folder`; None if not."""
    files = _files(fit, operators, folder)
    return _fitted(files) if all(path.exists() for path in files.values()) else None


def _files(fit: FitSection, operators: Mapping[str, OperatorSpec], folder: Path) -> dict[str, Path]:
    files = {}
    for name, spec in operators.items():
        key = content_key({"fit": fit.arguments(), "operator": spec.fingerprint})
        files[name] = folder / f"{name}-{key}" / f"{name}.zarr"
    return files


def _fitted(files: Mapping[str, Path]) -> FittedFactors:
    records = {name: CompletedParts(path.parent).read("fit") for name, path in files.items()}
    return FittedFactors(files, {n: r["seconds"] if r else None for n, r in records.items()})
