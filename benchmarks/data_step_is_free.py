"""A training step with factors takes hardly longer than one without any data step.

    uv run benchmarks/data_step_is_free.py [--quick]

Seconds per training step (forward, backward, optimizer; `training_step`) of
one network on one patch of a cone beam, with five data steps: none (K calls of the prior),
factors with one term, factors of the default model (two-sided, three terms: what it takes of a
cone beam with 64 probes, see docs/results.md), the exact A*A restricted to the patch, and
the exact A*A of the patch zero-padded to the volume. The ways take turns; ratios are those
within a round, and the claim is about their median. The prior's share of a step is the inverse
of the ratio. On the CPU with one thread the seconds are those of the processor, which on a quiet
machine are those of the clock: so a busy machine may be used. Else they are those of the clock.

The factors' values are drawn, not fitted: only their shapes decide the time.

Not part of a step, but of its data: g0, one restricted A*A per patch, in the loader's workers.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numba
import torch
from measurement import RESULTS, Claim, conclude, times_in_turns, write_json

from normalfit.devices import resolve_device
from normalfit.factors import Factors
from normalfit.grid import Patch
from normalfit.lag_kernel import LagKernel
from normalfit.restriction import restrict_batch
from normalfit.specs import spec_from_document
from normalfit.spectral_norm import spectral_norm
from partunroll.configuration.train_config import TrainConfig
from partunroll.network.networks import UnrolledNetwork
from partunroll.network.trained_on import TrainedOn
from partunroll.patches.patch_batch import PatchBatch
from partunroll.patches.patch_normals import RestrictedNormals, ZeroPaddedNormals
from partunroll.training.patch_training import training_step
from partunroll.training.training_state import TrainingState

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.linear_operator import LinearOperator
    from partunroll.patches.patch_normals import PatchNormal

mpl.use("Agg")
import matplotlib.pyplot as plt

NONE, FACTORS = "no data step", ("factors, K = 1", "factors, default model")
EXACT = ("exact, restricted", "exact, zero-padded")
ALLOWED = {"cpu": 1.15, "cuda": 1.05}  # of a step without data step


class PriorAlone(UnrolledNetwork):
    """The same network without its data steps: K calls of the prior."""

    def forward(self, initial_estimate, initial_gradient, normal):  # noqa: ARG002
        x = initial_estimate
        for _ in self.step_sizes:
            x = self.prior(x)
        return x


@dataclass(frozen=True)
class Row:
    """One way to take the data step."""

    way: str
    terms: int | None
    seconds: list[float]
    ratios: list[float]

    @property
    def ratio(self) -> float:
        """Median of the ratios to a step without data step."""
        return statistics.median(self.ratios)


def cone_beam(size: int, views: int) -> LinearOperator:
    """Return a cone beam with the whole volume in view."""
    document = {
        "kind": "cone_beam",
        "volume_shape": [size] * 3,
        "voxel_mm": 1.0,
        "detector_shape": [size + size // 2] * 2,
        "pixel_mm": 1.5,
        "source_origin_mm": 4.0 * size,
        "origin_detector_mm": 2.0 * size,
        "num_views": views,
    }
    return spec_from_document(document, {}).build()


def normals(
    operator: LinearOperator, patch: Patch, arguments: argparse.Namespace, device: torch.device
) -> dict[str, tuple[PatchNormal, int | None]]:
    """Return ``B_p`` or ``N_p``, divided by the norm, and its number of terms, for each way."""
    norm = spectral_norm(operator.normal, operator.domain.shape, device=device).value
    found: dict[str, Any] = {}
    for way, terms in zip(FACTORS, (1, arguments.terms), strict=True):
        factors = made_factors(operator.domain.shape, terms, two_sided=way == FACTORS[1]).to(device)
        found[way] = restrict_batch(factors, [patch] * arguments.batch), terms
    restricted = RestrictedNormals((operator.restricted(patch),) * arguments.batch, norm)
    found[EXACT[0]] = restricted, None
    found[EXACT[1]] = ZeroPaddedNormals(operator, (patch,) * arguments.batch, norm), None
    return found


def made_factors(shape: tuple[int, ...], terms: int, *, two_sided: bool) -> Factors:
    """Return factors with linear boundary and all lags, of a norm below one."""
    generator = torch.Generator().manual_seed(1)
    lags = tuple(2 * n - 1 for n in shape)
    values = torch.rand((terms, *lags), generator=generator) / (terms * math.prod(lags))
    u, v = (torch.rand((terms, *shape), generator=generator) for _ in range(2))
    kernel = LagKernel(values, shape, ("linear",) * len(shape))
    return Factors(kernel, u, v if two_sided else None)


def steps(
    ways: dict[str, Any], config: TrainConfig, patch: Patch, device: torch.device
) -> dict[str, Callable[[], object]]:
    """Return a call that takes one training step, for each way."""
    generator = torch.Generator().manual_seed(0)
    x0, truth, g0 = (
        torch.rand(config.batch, *patch.shape, generator=generator).to(device) for _ in range(3)
    )
    calls: dict[str, Callable[[], object]] = {}
    unused = ways[FACTORS[0]]  # a batch has a normal operator, also where no data step asks it
    for way, (normal, _) in {NONE: unused, **ways}.items():
        state = TrainingState.fresh(config, TrainedOn((), (), "", {}), device)
        if way == NONE:
            state.network.__class__ = PriorAlone
        names, patches = ("a",) * config.batch, (patch,) * config.batch
        batch = PatchBatch(0, "cone", names, patches, x0, truth, 0.01 * g0, normal)
        calls[way] = partial(take_step, state, batch)
    return calls


def take_step(state: TrainingState, batch: PatchBatch) -> None:
    """Take a training step at the same place of the schedule each time."""
    state.step = 0
    training_step(state, [batch])


def table(rows: list[Row]) -> str:
    """Return the results as text."""
    lines = [f"{'data step':<24} {'terms':>5} {'s per step':>10} {'of none':>8} {'prior':>7}"]
    for row in rows:
        terms = "" if row.terms is None else str(row.terms)
        lines.append(
            f"{row.way:<24} {terms:>5} {statistics.median(row.seconds):>10.3f} {row.ratio:>8.3f} "
            f"{1 / row.ratio:>7.1%}"
        )
    return "\n".join(lines)


def plot(rows: list[Row], allowed: float, path: Path) -> None:
    """Draw the ratios, with those of every round, and what is claimed."""
    figure, axis = plt.subplots(figsize=(8, 3.5), layout="constrained")
    names = [f"{row.way}\n({row.terms} terms)" if (row.terms or 1) > 1 else row.way for row in rows]
    axis.barh(names, [row.ratio for row in rows], color="0.75")
    for i, row in enumerate(rows):
        axis.plot(row.ratios, [i] * len(row.ratios), "k.", markersize=4)
    axis.axvline(allowed, color="C3", linewidth=1)
    axis.text(allowed, -0.6, f" {allowed:g}", color="C3", va="top", fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("seconds per training step, relative to no data step (dots: rounds)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=96, help="voxels along each axis")
    parser.add_argument("--views", type=int, default=30)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=4, help="of the unrolled network")
    parser.add_argument("--widths", type=int, nargs=4, default=[16, 32, 64, 128])
    parser.add_argument("--terms", type=int, default=3, help="of the default model, 1 … 4")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="32³, patch 16³: shows that it runs")
    parser.add_argument("--output", type=Path, default=RESULTS / "data_step_is_free")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.size, arguments.views, arguments.patch, arguments.repeats = 32, 12, 16, 2
    device = resolve_device(arguments.device)
    operator = cone_beam(arguments.size, arguments.views)
    side = arguments.patch
    patch = Patch(((arguments.size - side) // 2,) * 3, (side,) * 3)
    network = {"iterations": arguments.iterations, "prior": {"widths": arguments.widths}}
    config = TrainConfig.model_validate(
        {"network": network, "patch_shape": side, "batch": arguments.batch, "warmup_steps": 0}
    ).resolved(operator.domain.shape)
    ways = normals(operator, patch, arguments, device)
    calls = steps(ways, config, patch, device)
    restricted, x = operator.restricted(patch), torch.rand(patch.shape, device=device)
    calls["g0 of one patch"] = lambda: restricted.normal(x)
    alone = device.type == "cpu" and torch.get_num_threads() == numba.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    times = times_in_turns(calls, arguments.repeats, device=device, clock=clock)
    loading = times.pop("g0 of one patch")
    rows = [
        Row(
            way,
            ways[way][1] if way in ways else None,
            seconds,
            [a / b for a, b in zip(seconds, times[NONE], strict=True)],
        )
        for way, seconds in times.items()
    ]
    allowed = ALLOWED[device.type]
    print(table(rows))
    print(f"g0 of one patch, in the loader: {statistics.median(loading):.3f} s")
    settings = {k: v for k, v in vars(arguments).items() if k != "output"}
    write_json(
        arguments.output.with_suffix(".json"),
        {
            "settings": settings,
            "clock": clock.__name__,
            "allowed": allowed,
            "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
            "initial_gradient_seconds": loading,
        },
    )
    plot(rows, allowed, arguments.output.with_suffix(".png"))
    return conclude(
        [
            Claim(
                f"a step with {row.way} takes {row.ratio:.3f} of one without data step "
                f"(at most {allowed:g}; the prior's share is {1 / row.ratio:.0%})",
                row.ratio <= allowed,
            )
            for row in rows
            if row.way in FACTORS
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
