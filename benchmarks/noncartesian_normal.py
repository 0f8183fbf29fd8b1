"""Factors of non-Cartesian MRI are exact and faster than NUFFTs.

    uv run benchmarks/noncartesian_normal.py [--sizes 64 128] [--coils 2] [--device cpu]

A stack of stars over n planes, with a golden-angle spoke for every second voxel of an axis.
Compared are the exact A*A (two NUFFTs of each coil, mri-nufft's finufft with its default
precision of 1e-6) and the factors whose kernel is computed from the trajectory. Claims: an error
of at most 1e-3, and at 128³ factors at least 5 times as fast.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
import torch
from measurement import RESULTS, Claim, conclude, times_in_turns, write_json

from normalfit.devices import resolve_device
from normalfit.grid import Grid
from normalfit.mri.birdcage import birdcage_maps
from normalfit.mri.trajectories import trajectory
from normalfit.operators.noncartesian_mri import NonCartesianMRI

mpl.use("Agg")
import matplotlib.pyplot as plt

MOST_ERROR, LEAST_SPEED_UP, CLAIMED_SIZE = 1e-3, 5.0, 128


@dataclass(frozen=True)
class Row:
    """One size."""

    size: int
    samples: int
    coils: int
    error: float
    kernel_seconds: float
    exact_seconds: float
    factors_seconds: float

    @property
    def speed_up(self) -> float:
        """Time of the exact A*A over that of the factors."""
        return self.exact_seconds / self.factors_seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, CLAIMED_SIZE])
    parser.add_argument("--coils", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS / "noncartesian_normal")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    device = resolve_device(arguments.device)
    rows = []
    for size in arguments.sizes:
        rows.append(_row(size, arguments.coils, arguments.repeats, device))
        print(f"{rows[-1]}, {rows[-1].speed_up:.1f} times", flush=True)
    write_json(
        arguments.output.with_suffix(".json"),
        {"rows": [asdict(row) | {"speed_up": row.speed_up} for row in rows]},
    )
    _draw(rows, arguments.output.with_suffix(".png"))
    worst = max(row.error for row in rows)
    claims = [Claim(f"error {worst:.1e} (at most {MOST_ERROR:g})", worst <= MOST_ERROR)]
    claims += [
        Claim(
            f"at {row.size}³ {row.speed_up:.1f} times as fast (at least {LEAST_SPEED_UP:g})",
            row.speed_up >= LEAST_SPEED_UP,
        )
        for row in rows
        if row.size == CLAIMED_SIZE
    ]
    return conclude(claims)


def _row(size: int, coils: int, repeats: int, device: torch.device) -> Row:
    shape = (size, size, size)
    samples = trajectory("stack-of-stars", shape, size // 2, 2 * size)
    operator = NonCartesianMRI(Grid(shape), birdcage_maps(coils, shape), samples)
    started = time.perf_counter()
    factors = operator.exact_factors().to(device)
    kernel_seconds = time.perf_counter() - started
    x = torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    x = x.to(device)
    exact = operator.normal(x)
    error = float((factors(x) - exact).norm() / exact.norm())
    calls = {"exact": lambda: operator.normal(x), "factors": lambda: factors(x)}
    times = times_in_turns(calls, repeats, device=device)
    exact_seconds, factors_seconds = (sorted(times[name])[repeats // 2] for name in calls)
    return Row(size, len(samples), coils, error, kernel_seconds, exact_seconds, factors_seconds)


def _draw(rows: list[Row], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5.5, 4), layout="constrained")
    sizes = [row.size for row in rows]
    axes.loglog(sizes, [row.exact_seconds for row in rows], "s-", label="exact A*A (NUFFT)")
    axes.loglog(sizes, [row.factors_seconds for row in rows], "o-", label="factors")
    axes.set_xticks(sizes, [f"{n}³" for n in sizes])
    axes.set_xlabel("grid")
    axes.set_ylabel("seconds of one application")
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
