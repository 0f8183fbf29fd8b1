"""Four virtual coils do for twelve: error of the factors against the number of virtual coils.

    uv run benchmarks/virtual_coils.py [--size 64] [--probes 64] [--coil-maps maps.npy]

Cartesian MRI with a Poisson disc of R = 5. The coils are birdcages of 12 at two radii and, with
--coil-maps, measured ones. For J virtual coils: the first singular vectors of the maps
(`direct_factors`), and the fit that goes on from there. Beside them the paper's one-sided D C,
with as many terms of it. The claim is about the radius of 1.5 half fields of view: the fit with
J = 4 has less than a third of the error of J = 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from measurement import RESULTS, Claim, conclude, write_json

from normalfit.direct_factors import direct_factors
from normalfit.fitting import fit
from normalfit.grid import Grid
from normalfit.model import Model
from normalfit.mri.birdcage import birdcage_maps
from normalfit.mri.sampling_mask import sampling_mask
from normalfit.operators.multicoil_mri import MulticoilMRI

mpl.use("Agg")
import matplotlib.pyplot as plt

NUM_COILS, RADII = 12, (1.5, 1.1)
VIRTUAL = (1, 2, 3, 4, 6)
ACCELERATION, CALIBRATION = 5, 12
CLAIMED, THIRD = "birdcage, radius 1.5", 1 / 3


@dataclass(frozen=True)
class Row:
    """Errors on the grid with one number of virtual coils."""

    maps: str
    coils: int
    compressed: float
    fitted: float
    half_width: float
    seconds: float


def main() -> int:
    arguments = _parsed()
    rows: list[Row] = []
    paper: dict[str, float] = {}
    exact: dict[str, float] = {}
    for name, maps in _sets(arguments).items():
        operator = _operator(maps)
        shared = {"probes": arguments.probes, "evaluation": 32}
        one_sided = fit(operator, model=Model("diagonal-circulant", terms=1), **shared)
        paper[name] = one_sided.report.grid_error.value
        exact[name] = fit(operator, method="direct", evaluation=8).report.grid_error.value
        print(f"{name}: one-sided D C {paper[name]:.4f}, all coils {exact[name]:.1e}", flush=True)
        for count in (c for c in VIRTUAL if c < len(maps)):
            rows.append(_row(name, operator, count, shared))
            print(rows[-1], flush=True)
    write_json(
        arguments.output.with_suffix(".json"),
        {"rows": [asdict(row) for row in rows], "one_sided": paper, "all_coils": exact},
    )
    _draw(rows, paper, arguments.output.with_suffix(".png"))
    errors = {row.coils: row.fitted for row in rows if row.maps == CLAIMED}
    text = (
        f"{CLAIMED}: J = 4 has {errors[4]:.4f}, {errors[4] / errors[1]:.2f} of J = 1 with "
        f"{errors[1]:.4f} (below a third)"
    )
    return conclude([Claim(text, errors[4] < THIRD * errors[1])])


def _row(name: str, operator: MulticoilMRI, count: int, shared: dict[str, int]) -> Row:
    started = time.perf_counter()
    compressed = fit(operator, method="direct", terms=count, evaluation=shared["evaluation"])
    start = direct_factors(operator, count)
    fitted = fit(operator, model=Model("multicoil", terms=count), start=start, **shared)
    error = fitted.report.grid_error
    return Row(
        name,
        count,
        compressed.report.grid_error.value,
        error.value,
        (error.high - error.low) / 2,
        time.perf_counter() - started,
    )


def _sets(arguments: argparse.Namespace) -> dict[str, torch.Tensor]:
    shape = (arguments.size, arguments.size)
    sets = {
        f"birdcage, radius {radius}": birdcage_maps(NUM_COILS, shape, radius=radius)
        for radius in RADII
    }
    if arguments.coil_maps is not None:
        maps = torch.from_numpy(np.load(arguments.coil_maps)).to(torch.complex64)
        sets[f"{len(maps)} measured maps"] = maps
    return sets


def _operator(maps: torch.Tensor) -> MulticoilMRI:
    shape = tuple(maps.shape[1:])
    mask = sampling_mask(shape, "poisson-disc", ACCELERATION, calibration=CALIBRATION)
    return MulticoilMRI(Grid(shape), maps, torch.from_numpy(mask))


def _draw(rows: list[Row], paper: dict[str, float], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for index, name in enumerate(paper):
        own = [row for row in rows if row.maps == name]
        counts = [row.coils for row in own]
        colour = f"C{index}"
        axes.semilogy(counts, [r.fitted for r in own], "o-", color=colour, label=f"{name}, fitted")
        axes.semilogy(counts, [r.compressed for r in own], "s:", color=colour, label="compressed")
        axes.axhline(paper[name], color=colour, ls="--", lw=0.8, label="one-sided D C")
    axes.set_xlabel("virtual coils J")
    axes.set_ylabel("relative error of A*A")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=120)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--probes", type=int, default=64)
    parser.add_argument("--coil-maps", type=Path, help="measured maps, .npy (coils, y, x)")
    parser.add_argument("--output", type=Path, default=RESULTS / "virtual_coils")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
