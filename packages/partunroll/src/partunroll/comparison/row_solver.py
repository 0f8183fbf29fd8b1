"""MethodSolver and NetworkSolver: how a row gets from measurements to a volume."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import torch

from normalfit.factor_file import open_factors
from partunroll.baselines.choice import choose
from partunroll.baselines.method import parse_method
from partunroll.baselines.problem import Problem, estimated_norm
from partunroll.comparison.central_part import central_psnr
from partunroll.comparison.recipe_row import with_network
from partunroll.network.checkpoint import load_checkpoint
from partunroll.patches.patch_normal import needs_factors
from partunroll.reconstruction.two_stages import reconstruct
from partunroll.store.data_store import DataStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.linear_operator import LinearOperator
    from partunroll.comparison.row_job import ReconstructJob
    from partunroll.completed_parts import CompletedParts

    Solve = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Solver(Protocol):
    """How a row reconstructs."""

    def prepared(self, column: str, operator: str) -> Solve:
        """Return what makes a volume out of measurements and an initial estimate."""


class MethodSolver:
    """A method without training, its options chosen on the validation samples of a column."""

    def __init__(self, job: ReconstructJob, parts: CompletedParts, device: torch.device) -> None:
        self._job, self._parts, self._device = job, parts, device
        self._store = DataStore.open(job.tested)
        self._norms: dict[str, float] = {}

    def prepared(self, column: str, operator: str) -> Solve:
        method = parse_method(self._document(column))
        A, norm, mark = self._operator(operator)
        method.prepare(self._device)
        warm_up(A, self._device)

        def solve(y: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
            return method.reconstruct(Problem(A, y, norm, x0, self._job.seed, mark))

        return solve

    def _document(self, column: str) -> dict[str, Any]:
        """Return the method's document, chosen before or now."""
        document, candidates = dict(self._job.method or {}), dict(self._job.candidates)
        if self._job.checkpoint is not None:
            document, candidates = (
                with_network(part, str(self._job.checkpoint)) for part in (document, candidates)
            )
        if not candidates:
            return document
        name = f"choice-{list(self._job.columns).index(column)}"  # titles may not name files
        record = self._parts.read(name)
        if record is None:
            problems, references = self._validation(column)
            psnr = partial(central_psnr, crop=self._job.crop)  # as the table's
            record = choose(document, candidates, problems, references, psnr=psnr).as_json()
            self._parts.write(name, record)
        return dict(record["method"])

    def _validation(self, column: str) -> tuple[list[Problem], list[torch.Tensor]]:
        store = DataStore.open(self._job.trained)
        problems, references = [], []
        operators: dict[str, tuple[LinearOperator, float, str]] = {}
        for sample in store.split("validation"):
            if sample.operator not in self._job.columns[column]:
                continue
            y, x0, reference = (
                torch.from_numpy(store.read(sample.id, array)).to(self._device)
                for array in ("measurements", "initial_estimate", "reference")
            )
            if sample.operator not in operators:
                operators[sample.operator] = self._operator(sample.operator)
            A, norm, mark = operators[sample.operator]
            problems.append(Problem(A, y, norm, x0, self._job.seed, mark))
            references.append(reference)
        return problems, references

    def _operator(self, name: str) -> tuple[LinearOperator, float, str]:
        """Return A, its norm and its fingerprint; A is built, as every scan may have coil maps."""
        spec = self._store.operator(name)
        A = spec.build()
        if name not in self._norms:
            self._norms[name] = estimated_norm(A, self._device)
        return A, self._norms[name], spec.fingerprint


class NetworkSolver:
    """A trained network, in one or two stages."""

    def __init__(self, job: ReconstructJob, device: torch.device) -> None:
        self._job, self._device = job, device
        self._store = DataStore.open(job.tested)
        assert job.checkpoint is not None  # noqa: S101 - rows without a method have a network
        self._checkpoint = load_checkpoint(job.checkpoint)

    @cached_property
    def _options(self) -> dict[str, Any]:
        """Arguments of `reconstruct`."""
        given = self._job.options
        options = given.model_dump(exclude_none=True)
        post_processing = self._checkpoint.network.kind == "post_processing"
        return {
            **options,
            "stages": given.stages or (1 if post_processing else 2),
            "patch_shape": given.patch_shape or self._checkpoint.patch_shape,
            "patch_normal": given.patch_normal or self._checkpoint.normal,
        }

    def prepared(self, column: str, operator: str) -> Solve:
        del column
        spec, options = self._store.operator(operator), self._options
        file = open_factors(self._job.factors[operator])
        trained = {known.fingerprint: known.norm for known in self._checkpoint.operators}
        # an operator of a test scan alone, as coil maps are, has the norm of its own factors
        norm = trained.get(spec.fingerprint, file.norm.value)
        A = spec.build()
        uses_factors = options["normal"] == "factors" or (
            options["stages"] == 2 and needs_factors(options["patch_normal"])
        )
        factors = file.load(self._device) if uses_factors else None
        network = self._checkpoint.build_network(self._device)
        warm_up(A, self._device)

        def solve(y: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
            return reconstruct(network, A, y, factors, norm, x0, **options).final

        return solve


@torch.no_grad()
def warm_up(A: LinearOperator, device: torch.device) -> None:
    """Apply ``A*A`` once, so that compilers and caches are not in the first sample's time."""
    A.normal(torch.zeros(A.domain.shape, dtype=A.probe_dtype, device=device))
