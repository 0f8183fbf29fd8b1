"""ReconstructionJob: a reconstruction out of checked files, in memory or on disk, to a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from partunroll.errors import InputError
from partunroll.measurements.scan import Scan, load_measurements, load_scan
from partunroll.patches.blended_patches import batches, overlapping_windows
from partunroll.reconstruction.memory_plan import MemoryPlan, begun_plan, load_code, plan_memory
from partunroll.reconstruction.reconstruction_facts import reconstruction_facts
from partunroll.reconstruction.reconstruction_file import open_reconstruction, save_reconstruction
from partunroll.reconstruction.reconstruction_identity import (
    digest_of_planes,
    digest_of_tensor,
    reconstruction_identity,
)
from partunroll.reconstruction.stored_problem import StoredProblem
from partunroll.reconstruction.stored_reconstruction import reconstruct_stored
from partunroll.reconstruction.stored_scan import StoredScan, store_scan
from partunroll.reconstruction.two_stages import reconstruct
from partunroll.reconstruction.work_folder import INITIAL, opened, work_path

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress

    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec
    from partunroll.initial.initial_estimate import Method
    from partunroll.measurements.scan import Intensity
    from partunroll.network.checkpoint import Checkpoint
    from partunroll.network.networks import Network
    from partunroll.patches.windows import BlendWindows
    from partunroll.ranks import Ranks
    from partunroll.reconstruction.reconstruction_file import (
        ReconstructionFacts,
        ReconstructionFile,
    )
    from partunroll.reconstruction.reconstruction_match import Matched
    from partunroll.reconstruction.reconstruction_result import Reconstruction
    from partunroll.reconstruction.work_folder import WorkFolder

OUTPUT = "output"


@dataclass(frozen=True, eq=False)
class ReconstructionJob:
    """Everything that `reconstruct_to_file` has checked; the fields are its parameters.

    Parameters
    ----------
    checkpoint_path, checkpoint
        The network's file, and what is in it.
    matched
        Factors, norm and notes of what was allowed.
    settings
        Options of `reconstruct`, as JSON values.
    spec, measurements, output, initial, window, method, intensity_per_mm, max_memory, backend
        As for `reconstruct_to_file`, resolved.
    device, command, progress
        As for `reconstruct_to_file`, resolved.
    """

    spec: OperatorSpec
    checkpoint_path: Path
    checkpoint: Checkpoint
    matched: Matched
    measurements: Path
    output: Path
    initial: Path | None
    window: str
    method: Method
    intensity_per_mm: Intensity
    settings: dict[str, Any]
    max_memory: int | None
    backend: str | None
    device: torch.device
    command: str | None
    progress: Progress | None

    def run(self, ranks: Ranks) -> ReconstructionFile:
        """Reconstruct, write the output and clear the work folder.

        Raises
        ------
        InputError, MismatchError
            As `reconstruct_to_file`.
        """
        _ = list(batches((), self.settings["batch"]))  # raises before anything is computed
        operator = self.spec.build(self.backend)
        windows = self._windows(operator)
        network = self.checkpoint.build_network(self.device)
        plan = None
        if self.max_memory is not None:
            load_code(operator, network, windows, self.device)
            plan = ranks.from_first(lambda: self._plan(operator, windows))
        if plan is not None and plan.on_disk:
            return self._run_on_disk(plan, network, windows, ranks)
        return self._run_in_memory(network, ranks)

    def _run_in_memory(self, network: Network, ranks: Ranks) -> ReconstructionFile:
        scan = load_scan(
            self.spec, self.measurements, initial=self.initial, window=self.window,
            method=self.method, intensity_per_mm=self.intensity_per_mm, backend=self.backend,
            device=self.device,
        )  # fmt: skip
        x0 = scan.initial_estimate
        initial = None if self.initial is None else digest_of_tensor(x0)
        identity = self._identity(scan.measurements, initial, on_disk=False)
        dtype = x0[:0].cpu().numpy().dtype
        with opened(work_path(self.output), identity, tuple(x0.shape), dtype, ranks) as work:
            if self._is_done(work):
                return self._cleared(work)
            result = reconstruct(
                network,
                scan.operator,
                scan.measurements,
                None if self.matched.factors is None else self.matched.factors.load(self.device),
                self.matched.norm,
                x0,
                **{**self.settings, "stride": self._stride},
                progress=self.progress,
                work=work,
                ranks=ranks,
            )
            return self._written(work, scan, result, on_disk=False)

    @torch.no_grad()
    def _run_on_disk(
        self, plan: MemoryPlan, network: Network, windows: BlendWindows, ranks: Ranks
    ) -> ReconstructionFile:
        measured = load_measurements(self.spec, self.measurements, self.backend, self.device)
        operator, y, _ = measured
        shape = operator.domain.shape
        given, complex_too = self.initial, operator.is_complex
        initial = digest_of_planes(given, shape, is_complex=complex_too) if given else None
        identity = self._identity(y, initial, on_disk=True)
        dtype = y[:0].cpu().numpy().dtype
        with opened(work_path(self.output), identity, shape, dtype, ranks) as work:
            if self._is_done(work):
                return self._cleared(work)
            plan = begun_plan(plan, work, self.max_memory or 0)
            scan = store_scan(
                self.spec, measured, work, plan.planes, initial=self.initial, window=self.window,
                method=self.method, intensity_per_mm=self.intensity_per_mm,
            )  # fmt: skip
            problem = StoredProblem(
                operator, scan.measurements, work.volume(INITIAL), self.matched.norm,
                self.matched.factors, planes=plan.planes, slab_bytes=plan.slab_bytes,
            )  # fmt: skip
            names = ("stages", "patch_normal", "normal", "refresh", "batch")
            result = reconstruct_stored(
                network,
                problem,
                windows,
                work,
                **{name: self.settings[name] for name in names},
                progress=self.progress,
            )
            return self._written(work, scan, result, on_disk=True)

    def _plan(self, operator: LinearOperator, windows: BlendWindows) -> MemoryPlan:
        return plan_memory(
            self.max_memory,
            operator,
            windows,
            self.checkpoint.network,
            self.matched.factors,
            batch=self.settings["batch"],
            normal=self.settings["normal"],
            whole_normals=self.settings["stages"] == 2 and self.settings["patch_normal"] == "full",
        )

    def _windows(self, operator: LinearOperator) -> BlendWindows:
        patch_shape, overlap = self.settings["patch_shape"], self.settings["overlap"]
        return overlapping_windows(
            operator.domain.shape, patch_shape, overlap,
            stride=self._stride, blend=self.settings["blend"],
        )  # fmt: skip

    @property
    def _stride(self) -> int | tuple[int, ...] | None:
        stride = self.settings["stride"]
        return tuple(stride) if isinstance(stride, list) else stride

    def _identity(
        self, measurements: torch.Tensor, initial: str | None, *, on_disk: bool
    ) -> dict[str, Any]:
        choices = {
            "window": self.window,
            "method": self.method,
            "intensity_per_mm": self.intensity_per_mm,
            "backend": self.backend,
            "device": self.device.type,
            "norm": self.matched.norm,
            "on_disk": on_disk,
        }
        return reconstruction_identity(
            self.spec,
            self.checkpoint_path,
            self.matched.factors,
            measurements,
            {**self.settings, **choices},
            initial,
        )

    def _is_done(self, work: WorkFolder) -> bool:
        """Return whether the output was put in its place, by a process killed after that.

        Raises
        ------
        InputError
            There is an output that this work did not make.
        """
        if (exists := self.output.exists()) and work.finished(OUTPUT) is None:
            msg = f"output must not exist yet, got {self.output}; move it away or choose another"
            raise InputError(msg)
        return exists

    def _cleared(self, work: WorkFolder) -> ReconstructionFile:
        work.ranks.wait()
        if work.ranks.is_first:
            work.clear()
        return open_reconstruction(self.output)

    def _written(
        self,
        work: WorkFolder,
        scan: Scan | StoredScan,
        result: Reconstruction[Any],
        *,
        on_disk: bool,
    ) -> ReconstructionFile:
        work.finish(OUTPUT)
        if work.ranks.is_first:
            volumes = {
                name: x.cpu().numpy() if isinstance(x, torch.Tensor) else x
                for name, x in (
                    ("reconstruction", result.final),
                    ("stage1", result.stage1),
                    ("initial_estimate", result.initial_estimate),
                )
            }
            save_reconstruction(
                self.output,
                volumes,
                self._facts(scan, result, work.ranks, on_disk=on_disk),
                scale=scan.intensity_per_mm or 1.0,
                folder=work.path,
            )
        return self._cleared(work)

    def _facts(
        self,
        scan: Scan | StoredScan,
        result: Reconstruction[Any],
        ranks: Ranks,
        *,
        on_disk: bool,
    ) -> ReconstructionFacts:
        return reconstruction_facts(
            self.spec,
            self.matched,
            scan,
            result,
            checkpoint=self.checkpoint,
            checkpoint_path=self.checkpoint_path,
            measurements=self.measurements,
            initial=self.initial,
            settings=self.settings,
            circumstances={
                "device": str(self.device),
                "volumes": "on disk" if on_disk else "in memory",
                "max_memory_bytes": self.max_memory,
                "processes": ranks.size,
            },
            command=self.command,
        )
