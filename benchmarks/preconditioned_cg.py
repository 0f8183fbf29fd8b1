"""Factors precondition conjugate gradients: at most half of the iterations on parallel beam.

    uv run benchmarks/preconditioned_cg.py [--size 128] [--cone-size 48] [--probes 128]

Solves ``(A*A + ridge I) x = A*y`` with the exact A*A, with and without the preconditioner made
of symmetric factors (`normalfit.preconditioner`), to a relative residual of 1e-4. y are noisy
line integrals of ellipsoids. Iterations, time and the cost of the fit, for each operator
and ridge (relative to the norm of A*A), as a table, JSON and a picture.

The claim is about parallel beam whose detector sees the whole grid, at every ridge. Cone beam,
and scans whose detector is too short for the corners, are reported.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import torch
from measurement import RESULTS, Claim, conclude, write_json

from normalfit.conjugate_gradient import conjugate_gradient
from normalfit.devices import resolve_device
from normalfit.ellipsoids import ellipsoids
from normalfit.fitting import fit
from normalfit.preconditioner import precondition
from normalfit.specs import spec_from_document
from normalfit.spectral_norm import spectral_norm

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.linear_operator import LinearOperator

mpl.use("Agg")
import matplotlib.pyplot as plt

RIDGES = (1e-2, 1e-3, 1e-4)
TOLERANCE = 1e-4
ITERATIONS = 1000
SLACK = 1.05  # float32's true residual against that of the recurrence
NOISE = 0.01  # standard deviation, of the root mean square of the line integrals


@dataclass(frozen=True)
class Solve:
    """One solution by conjugate gradients."""

    iterations: int
    seconds: float
    true_residual: float
    residuals: tuple[float, ...]

    @property
    def has_converged(self) -> bool:
        """Whether ``|b - (A*A + ridge I) x|``, computed anew, is small enough."""
        return self.true_residual <= SLACK * TOLERANCE


@dataclass(frozen=True)
class Row:
    """One operator and ridge, without and with the preconditioner."""

    operator: str
    shape: tuple[int, ...]
    is_claimed: bool
    ridge: float
    without: Solve
    preconditioned: Solve
    grid_error: float
    fit_applications: int
    fit_seconds: float

    @property
    def holds(self) -> bool:
        """Whether at most half of the iterations suffice."""
        converged = self.without.has_converged and self.preconditioned.has_converged
        return converged and 2 * self.preconditioned.iterations <= self.without.iterations


def operators(size: int, cone_size: int) -> dict[str, tuple[dict[str, Any], dict[str, Any], bool]]:
    """Return document and model options of each operator, and whether the claim is about it.

    The slices of a parallel beam do not meet, so its kernel has one lag along z.
    """
    in_slices = {"lags": (1, 2 * size - 1, 2 * size - 1)}
    square, slices, cube = [size] * 2, [cone_size // 3, size, size], [cone_size] * 3

    def parallel(shape: list[int], views: int, columns: int) -> dict[str, Any]:
        return {
            "kind": "parallel_beam", "volume_shape": shape, "voxel_mm": 1.0, "pixel_mm": 1.0,
            "num_columns": columns, "num_views": views, "angle_range_deg": 180.0,
        }  # fmt: skip

    def cone(views: int, columns: int) -> dict[str, Any]:
        return {
            "kind": "cone_beam", "volume_shape": cube, "voxel_mm": 1.0, "pixel_mm": 1.5,
            "detector_shape": [columns, columns], "num_views": views,
            "source_origin_mm": 4.0 * cone_size, "origin_detector_mm": 2.0 * cone_size,
        }  # fmt: skip

    return {
        "parallel 2-D, 60 views": (parallel(square, 60, 3 * size // 2), {}, True),
        "parallel 2-D, 180 views": (parallel(square, 180, 3 * size // 2), {}, True),
        "parallel 3-D, 60 views": (parallel(slices, 60, 3 * size // 2), in_slices, True),
        "parallel 2-D, 60 views, short detector": (parallel(square, 60, 4 * size // 5), {}, False),
        "cone, 60 views": (cone(60, 3 * cone_size // 2), {}, False),
        "cone, 60 views, short detector": (cone(60, 4 * cone_size // 5), {}, False),
    }


def benchmark(
    name: str,
    document: dict[str, Any],
    options: dict[str, Any],
    *,
    is_claimed: bool,
    probes: int,
    device: torch.device,
) -> list[Row]:
    """Fit symmetric factors to one operator and solve with them, for every ridge."""
    operator = spec_from_document(document, {}).build()
    result = fit(operator, model="symmetric", probes=probes, device=device, **options)
    norm = spectral_norm(operator.normal, operator.domain.shape, device=device).value
    b = right_hand_side(operator, device)
    rows = []
    for relative in RIDGES:
        ridge = relative * norm
        rows.append(
            Row(
                name,
                operator.domain.shape,
                is_claimed,
                relative,
                solve(operator, b, ridge),
                solve(operator, b, ridge, lambda r: precondition(result.factors, r, ridge)),  # noqa: B023
                result.report.grid_error.value,
                result.report.applications,
                result.report.seconds,
            )
        )
    return rows


def right_hand_side(operator: LinearOperator, device: torch.device) -> torch.Tensor:
    """Return ``A*y`` of noisy line integrals y."""
    y = operator.forward(ellipsoids(operator.domain.shape).to(device))
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(device)
    return operator.adjoint(y + NOISE * y.square().mean().sqrt() * noise)


def solve(
    operator: LinearOperator,
    b: torch.Tensor,
    ridge: float,
    preconditioner: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Solve:
    """Solve ``(A*A + ridge I) x = b``; the time holds the making of the preconditioner."""

    def system(x: torch.Tensor) -> torch.Tensor:
        return operator.normal(x) + ridge * x

    started = time.perf_counter()
    result = conjugate_gradient(
        system, b, iterations=ITERATIONS, tolerance=TOLERANCE, precondition=preconditioner
    )
    seconds = time.perf_counter() - started  # its stopping rule has read every result back
    scale = float(torch.linalg.vector_norm(b))
    true_residual = float(torch.linalg.vector_norm(b - system(result.x))) / scale
    residuals = tuple(norm / scale for norm in result.residual_norms)
    return Solve(result.iterations, seconds, true_residual, residuals)


def table(rows: list[Row]) -> str:
    """Return the results as text."""
    lines = [
        f"{'operator':<40} {'grid':<12} {'error':>6} {'fit':>16} {'ridge':>7} "
        f"{'iterations':>12} {'ratio':>6} {'seconds':>15}"
    ]
    for row in rows:
        a, b = row.without, row.preconditioned
        cost = f"{row.fit_applications} A*A, {row.fit_seconds:.0f} s"
        iterations, seconds = (
            f"{a.iterations} → {b.iterations}",
            f"{a.seconds:.2f} → {b.seconds:.2f}",
        )
        lines.append(
            f"{row.operator:<40} {'×'.join(map(str, row.shape)):<12} {row.grid_error:>6.3f} "
            f"{cost:>16} {row.ridge:>7.0e} {iterations:>12} {b.iterations / a.iterations:>6.2f} "
            f"{seconds:>15}"
        )
    return "\n".join(lines)


def plot(rows: list[Row], path: Path) -> None:
    """Draw the residuals over the iterations, a panel for each operator."""
    names = list(dict.fromkeys(row.operator for row in rows))
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), sharey=True, layout="constrained")
    for axis, name in zip(axes.flat, names, strict=True):
        for i, row in enumerate(row for row in rows if row.operator == name):
            counts = f"{row.without.iterations} → {row.preconditioned.iterations}"
            axis.semilogy(row.without.residuals, f"C{i}--", linewidth=1)
            axis.semilogy(
                row.preconditioned.residuals, f"C{i}-", label=f"{row.ridge:.0e}: {counts}"
            )
        axis.axhline(TOLERANCE, color="grey", linewidth=0.5)
        shape = "×".join(map(str, row.shape))
        axis.set_title(f"{name}\n{shape}, error of the factors {row.grid_error:.2f}", fontsize=9)
        axis.legend(title="ridge / norm: iterations", fontsize=8, title_fontsize=8, frameon=False)
    figure.supxlabel("iterations (applications of A*A)", fontsize=10)
    figure.supylabel("relative residual", fontsize=10)
    figure.suptitle("Conjugate gradients without (dashed) and with symmetric factors (solid)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def claims(rows: list[Row]) -> list[Claim]:
    """Return the claim for every parallel beam and ridge."""
    return [
        Claim(
            f"{row.operator}, ridge {row.ridge:.0e}: {row.without.iterations} → "
            f"{row.preconditioned.iterations} iterations (at most half)",
            row.holds,
        )
        for row in rows
        if row.is_claimed
    ]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="voxels along x and y, parallel")
    parser.add_argument("--cone-size", type=int, default=48, help="voxels along each axis, cone")
    parser.add_argument("--probes", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS / "preconditioned_cg")
    arguments = parser.parse_args()
    how = {"probes": arguments.probes, "device": resolve_device(arguments.device)}
    rows = []
    for name, (document, options, is_claimed) in operators(
        arguments.size, arguments.cone_size
    ).items():
        rows += benchmark(name, document, options, is_claimed=is_claimed, **how)
        print(f"done: {name}", flush=True)
    print(table(rows))
    write_json(arguments.output.with_suffix(".json"), {"rows": [asdict(row) for row in rows]})
    plot(rows, arguments.output.with_suffix(".png"))
    sys.exit(conclude(claims(rows)))


if __name__ == "__main__":
    main()
