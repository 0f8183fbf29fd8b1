"""simulate: a data store out of volumes, or of made objects, seen by one or more operators."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from rich.progress import Progress

from normalfit.devices import resolve_device
from normalfit.written_beside import check_output
from partunroll.errors import InputError
from partunroll.initial.initial_estimate import estimate_method
from partunroll.initial.ramp_filter import check_window
from partunroll.measurements.finer_simulation import FinerSimulation, finer_simulation
from partunroll.measurements.noise import Noise, RelativeNoise
from partunroll.objects.object_sources import (
    MadeObjects,
    MadeSource,
    ObjectSource,
    VolumePlacement,
    VolumeSource,
    unique_names,
)
from partunroll.objects.smooth_phase import smooth_phase
from partunroll.store.data_store import DataStoreWriter, SampleInfo, create_store
from partunroll.store.data_summary import DataSummary, summarize
from partunroll.store.sample_arrays import SampleArrays

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from normalfit.grid import Grid
    from normalfit.specs import OperatorSpec
    from partunroll.initial.initial_estimate import Method
    from partunroll.store.data_store_header import Split
    from partunroll.volumes.resampling import Mode


PHASE = 1  # the stream of the phases, beside that of the noise


def simulate(
    specs: Mapping[str, OperatorSpec],
    volumes: Sequence[Path | str] | MadeObjects,
    output: Path | str,
    *,
    noise: Noise | None = None,
    same_grid: bool = False,
    seed: int = 0,
    split: Split = "train",
    validation: int | Sequence[Path | str] = 0,
    window: str = "hann",
    method: Method = "auto",
    mode: Mode = "fit",
    mask: Literal["cylinder"] | None = None,
    value_range: tuple[float, float] | None = None,
    backend: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> DataSummary:
    """Simulate measurements of every volume by every operator, and store what training needs.

    Each volume is scaled to [0, 1], put onto the operator's grid, twice finer, and projected
    from there; reference and measurements are averages over the finer samples. For MRI it is the
    magnitude, and gets a smooth random phase, the same for every operator.

    Parameters
    ----------
    specs
        Operator specs by name.
    volumes
        Files that `read_volume` takes, or `MadeObjects`.
    output
        The data store to make.
    noise
        `PhotonNoise` or `RelativeNoise`; None adds none.
    same_grid
        Simulate on the operator's own grid, which is an inverse crime and called so in the
        store; operators that have no finer grid do it anyway, and the summary says it.
    seed
        Of the noise, and of the phases in MRI.
    split
        What the volumes are for.
    validation
        Volumes for validation: files besides `volumes`, or how many of the last of `volumes`.
    window, method
        As for `initial_estimate`.
    mode, mask, value_range
        As for `VolumePlacement`.
    backend, device
        Where projections are computed; the backend replaces that of the specs.
    progress
        Shows a task with one step per sample.

    Returns
    -------
    DataSummary
        What the store holds, with notes.

    Raises
    ------
    InputError
        Files, options or output do not meet their requirements; nothing is left then.
    """
    output = Path(output)
    check_output(output)
    placement = VolumePlacement(mode, mask, value_range)
    sources = _sources(volumes, validation, split, placement)
    target = resolve_device(device)
    operators = {name: spec.build(backend) for name, spec in specs.items()}
    check_window(window)
    for operator in operators.values():
        estimate_method(operator, method)  # refuses what would fail after the first projections
    simulations = {n: finer_simulation(op, same_grid=same_grid) for n, op in operators.items()}
    run = _Run(simulations, noise or RelativeNoise(0.0), seed, window, method, target)
    made = {"by": "simulate", "seed": seed, "mode": mode, "mask": mask, "same_grid": same_grid}
    shown = progress or Progress(disable=True)
    task = shown.add_task("simulate", total=len(sources) * len(specs))
    with create_store(output, specs, made) as writer:
        for name, source in sources.items():
            run.add_samples(writer, name, source, advance=lambda: shown.advance(task))
    return summarize(output, _notes(simulations, same_grid=same_grid))


@dataclass(frozen=True)
class _Run:
    simulations: Mapping[str, FinerSimulation]
    noise: Noise
    seed: int
    window: str
    method: Method
    device: torch.device

    def add_samples(
        self,
        writer: DataStoreWriter,
        name: str,
        source: ObjectSource,
        advance: Callable[[], Any],
    ) -> None:
        """Add the samples of one object, one per operator."""
        on_grid = source.load()
        for operator in self.simulations:
            sample_id = name if len(self.simulations) == 1 else f"{name}-{operator}"
            self._add_sample(writer, sample_id, operator, source, on_grid)
            advance()

    @torch.no_grad()
    def _add_sample(
        self,
        writer: DataStoreWriter,
        sample_id: str,
        operator: str,
        source: ObjectSource,
        on_grid: Callable[[Grid], np.ndarray],
    ) -> None:
        simulation = self.simulations[operator]
        x = torch.from_numpy(on_grid(simulation.grid)).to(self.device)
        if simulation.operator.is_complex:
            phase = smooth_phase(x.shape, (self.seed, zlib.crc32(source.name.encode()), PHASE))
            x = torch.polar(x, torch.from_numpy(phase).to(self.device))
        reference, exact = simulation(x)
        del x
        clean = exact.cpu().numpy()
        noisy = self.noise.apply(clean, (self.seed, zlib.crc32(sample_id.encode())))
        arrays = SampleArrays(
            simulation.operator,
            torch.from_numpy(noisy).to(self.device),
            reference,
            window=self.window,
            method=self.method,
        )
        info = SampleInfo(
            id=sample_id,
            operator=operator,
            split=source.split,
            source=source.origin,
            inverse_crime=simulation.inverse_crime,
            intensity_per_mm=self.noise.intensity_per_mm(clean),
            noise=self.noise.document(),
            initial_method=arrays.initial_method,
            initial_window=None if arrays.initial_method == "least-squares" else self.window,
            relative_residual=arrays.relative_residual,
        )
        writer.add_sample(info, arrays)


def _sources(
    volumes: Sequence[Path | str] | MadeObjects,
    validation: int | Sequence[Path | str],
    split: Split,
    placement: VolumePlacement,
) -> dict[str, ObjectSource]:
    """Return the objects by unique names."""
    count = volumes.count if isinstance(volumes, MadeObjects) else len(volumes)
    last = validation if isinstance(validation, int) else 0
    if not 0 <= last <= count:
        msg = f"validation must be 0 … {count} of the objects, got {last}"
        raise InputError(msg)
    splits: list[Split] = [split] * (count - last) + ["validation"] * last
    sources: list[ObjectSource]
    if isinstance(volumes, MadeObjects):
        sources = [
            MadeSource(volumes.seed, i, part, volumes.smallest) for i, part in enumerate(splits)
        ]
    else:
        paired = zip(volumes, splits, strict=True)
        sources = [VolumeSource(str(path), part, placement) for path, part in paired]
    extra = () if isinstance(validation, int) else validation
    sources += [VolumeSource(str(path), "validation", placement) for path in extra]
    if not sources:
        msg = "volumes must be at least one file or made object, got none"
        raise InputError(msg)
    return dict(zip(unique_names(source.name for source in sources), sources, strict=True))


def _notes(simulations: Mapping[str, FinerSimulation], *, same_grid: bool) -> tuple[str, ...]:
    reason = "asked for" if same_grid else "it has no finer grid"
    return tuple(
        f"operator {name}: simulated on the reconstruction's own grid ({reason}), an inverse crime"
        for name, simulation in simulations.items()
        if simulation.inverse_crime
    )
