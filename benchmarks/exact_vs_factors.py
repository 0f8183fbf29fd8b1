"""Exact A*A, restricted exact, factors and restricted factors, for each operator kind.

    uv run benchmarks/exact_vs_factors.py [--size 64] [--views 60] [--terms 1] [--probes 32]

The error of the factors (grid and patches, held-out probes, 95 % intervals), and time and peak
memory of one application of each of the four, as a table, JSON and a picture. A patch is half
of the grid along every axis.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import torch
from measurement import RESULTS, measure, write_json

from normalfit.devices import resolve_device
from normalfit.fitting import fit
from normalfit.grid import Patch
from normalfit.restriction import restrict
from normalfit.specs import spec_from_document

if TYPE_CHECKING:
    from normalfit.linear_operator import LinearOperator

mpl.use("Agg")
import matplotlib.pyplot as plt

WAYS = ("exact", "restricted_exact", "factors", "restricted_factors")


@dataclass(frozen=True)
class Row:
    """What was measured of one operator kind."""

    kind: str
    shape: tuple[int, ...]
    patch: tuple[int, ...]
    boundary: str
    grid_error: dict[str, Any]
    patch_error: dict[str, Any]
    fit_seconds: float
    seconds: dict[str, float]
    peak_mib: dict[str, float | None]


def operators(size: int, views: int) -> dict[str, tuple[dict[str, Any], str]]:
    """Return an operator document and a boundary for each kind."""
    cube, square = [size] * 3, [2 * size] * 2
    columns = size + size // 2
    return {
        "cone_beam": (
            {
                "kind": "cone_beam", "volume_shape": cube, "voxel_mm": 1.0,
                "detector_shape": [columns, columns], "pixel_mm": 1.5,
                "source_origin_mm": 4.0 * size, "origin_detector_mm": 2.0 * size,
                "num_views": views,
            },
            "linear",
        ),
        "parallel_beam (3-D)": (
            {
                "kind": "parallel_beam", "volume_shape": cube, "voxel_mm": 1.0,
                "num_columns": columns, "pixel_mm": 1.0, "num_views": views,
                "angle_range_deg": 180.0,
            },
            "linear",
        ),
        "parallel_beam (2-D)": (
            {
                "kind": "parallel_beam", "volume_shape": square, "voxel_mm": 1.0,
                "num_columns": 3 * size, "pixel_mm": 1.0, "num_views": views,
                "angle_range_deg": 180.0,
            },
            "linear",
        ),
        "deconvolution": (
            {
                "kind": "deconvolution", "volume_shape": cube, "gaussian_std_voxels": 1.5,
                "boundary": "periodic",
            },
            "periodic",
        ),
        "inpainting": (
            {"kind": "inpainting", "volume_shape": cube, "kept_fraction": 0.5, "seed": 0},
            "linear",
        ),
        "python": (
            {
                "kind": "python",
                "function": "normalfit.operators.example_operator:moving_average",
                "arguments": {"shape": cube, "width": 5},
            },
            "linear",
        ),
    }  # fmt: skip


def benchmark(
    kind: str, document: dict[str, Any], boundary: str, arguments: argparse.Namespace
) -> Row:
    """Fit one operator and measure the four ways to apply its normal operator."""
    device = resolve_device(arguments.device)
    operator = spec_from_document(document, {}).build()
    result = fit(
        operator, boundary=boundary, terms=arguments.terms, probes=arguments.probes, device=device
    )
    shape = operator.domain.shape
    patch = Patch(tuple(n // 4 for n in shape), tuple(n // 2 for n in shape))
    figures = _measure(operator, result.factors, patch, device)
    return Row(
        kind,
        shape,
        patch.shape,
        boundary,
        result.report.grid_error.as_json(),
        result.report.patch_error.as_json(),
        result.report.seconds,
        {way: m.seconds for way, m in figures.items()},
        {way: None if m.peak_bytes is None else m.peak_bytes / 2**20 for way, m in figures.items()},
    )


def _measure(operator: LinearOperator, factors: Any, patch: Patch, device: torch.device) -> Any:
    x = torch.randn(operator.domain.shape, generator=torch.Generator().manual_seed(0)).to(device)
    x_p = patch.extract(x).contiguous()
    restricted, factors_p = operator.restricted(patch), restrict(factors, patch)
    return {
        "exact": measure(lambda: operator.normal(x), device=device),
        "restricted_exact": measure(lambda: restricted.normal(x_p), device=device),
        "factors": measure(lambda: factors(x), device=device),
        "restricted_factors": measure(lambda: factors_p(x_p), device=device),
    }


def table(rows: list[Row]) -> str:
    """Return the results as text."""
    head = (
        f"{'operator':<20} {'grid':<14} {'grid error':<16} {'patch error':<16} "
        + " ".join(f"{way + ' ms':>21}" for way in WAYS)
        + "  exact/factors  restricted: exact/factors"
    )
    lines = [head]
    for row in rows:
        ms = [1e3 * row.seconds[way] for way in WAYS]
        errors = [
            f"{e['value']:.4f} ±{(e['high'] - e['low']) / 2:.4f}"
            for e in (row.grid_error, row.patch_error)
        ]
        lines.append(
            f"{row.kind:<20} {'×'.join(map(str, row.shape)):<14} {errors[0]:<16} {errors[1]:<16} "
            + " ".join(f"{value:>21.2f}" for value in ms)
            + f"  {ms[0] / ms[2]:>13.2f}  {ms[1] / ms[3]:>25.2f}"
        )
    lines.append("")
    lines.append(f"{'operator':<20} " + " ".join(f"{way + ' MiB':>21}" for way in WAYS))
    for row in rows:
        peaks = [row.peak_mib[way] for way in WAYS]
        shown = " ".join(f"{'-' if p is None else format(p, '.1f'):>21}" for p in peaks)
        lines.append(f"{row.kind:<20} {shown}")
    return "\n".join(lines)


def plot(rows: list[Row], path: Path) -> None:
    """Draw times and memory, grouped by operator kind."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    panels = (
        ("seconds", "time of one application (s)"),
        ("peak_mib", "peak memory of one application (MiB)"),
    )
    for axis, (name, title) in zip(axes, panels, strict=True):
        for i, way in enumerate(WAYS):
            heights = {j: getattr(row, name)[way] for j, row in enumerate(rows)}
            shown = {j + (i - 1.5) * 0.2: h for j, h in heights.items() if h}  # no bar at log 0
            axis.bar(list(shown), list(shown.values()), 0.19, label=way.replace("_", " "))
        labels = [
            f"{r.kind}\nerror {r.grid_error['value']:.3f} / {r.patch_error['value']:.3f}"
            for r in rows
        ]
        axis.set_xticks(range(len(rows)), labels, fontsize=7, rotation=30, ha="right")
        axis.set_yscale("log")
        axis.set_title(title, fontsize=10)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=8, frameon=False, ncols=4, loc="outside lower center")
    figure.suptitle("Exact A*A against its factors (error: grid / patches of half the grid)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="voxels along each axis")
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--terms", type=int, default=1)
    parser.add_argument("--probes", type=int, default=32)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=RESULTS / "exact_vs_factors")
    arguments = parser.parse_args()
    rows = []
    for kind, (document, boundary) in operators(arguments.size, arguments.views).items():
        rows.append(benchmark(kind, document, boundary, arguments))
        print(f"done: {kind}", flush=True)
    print(table(rows))
    write_json(arguments.output.with_suffix(".json"), {"rows": [asdict(row) for row in rows]})
    plot(rows, arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
