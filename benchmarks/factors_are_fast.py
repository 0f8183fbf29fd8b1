"""Factors are fast: exact A*A, torch's padded FFTs, factors, and factors restricted to patches.

    uv run benchmarks/factors_are_fast.py [--sizes 64 96 128 192 256] [--views 60] [--repeats 5]

Cone beam, one term, linear boundary, float32, on the CPU and on a GPU when there is one. The
claim is about the CPU: at 128³ the factors take at most half of the time of torch's rfftn and
irfftn on the whole padded grid, and a quarter of that of the exact A*A with 60 views; a patch of
64³ in 256³ takes at most a 25th of the whole grid. Times are taken in turns, and ratios are
medians over the turns. The values of the factors do not change the time: they are random.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import torch
from measurement import RESULTS, Claim, conclude, peak_bytes, times_in_turns, write_json

from normalfit.factors import Factors
from normalfit.grid import Patch
from normalfit.lag_kernel import LagKernel
from normalfit.restriction import restrict
from normalfit.specs import spec_from_document

if TYPE_CHECKING:
    from collections.abc import Callable

mpl.use("Agg")
import matplotlib.pyplot as plt

PATCH = 64
CLAIMED = (  # voxels along an axis, what is slow, what is fast, how many times at least
    (128, "torch's padded FFTs", "factors", 2.0),
    (128, "exact A*A", "factors", 4.0),
    (256, "factors", "patch of 64³", 25.0),
)


@dataclass(frozen=True)
class Row:
    """Times of one size on one device, in seconds per turn, and peak memory beyond the input."""

    device: str
    size: int
    seconds: dict[str, list[float]]
    peak_mib: dict[str, float | None]

    def ratio(self, slow: str, fast: str) -> float:
        """Return how many times faster `fast` is than `slow`."""
        pairs = zip(self.seconds[slow], self.seconds[fast], strict=True)
        return statistics.median(a / b for a, b in pairs)


def benchmark(size: int, views: int, repeats: int, device: torch.device) -> Row:
    """Measure every way to apply the operator or its factors, at one size."""
    calls = contenders(size, views, device)
    seconds = times_in_turns(calls, repeats, device=device)
    peaks = {name: peak_bytes(call, device=device) for name, call in calls.items()}
    mib = {name: None if peak is None else peak / 2**20 for name, peak in peaks.items()}
    return Row(device.type, size, seconds, mib)


def contenders(size: int, views: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """Return the calls to compare; torch's FFTs and the factors compute the same."""
    random = torch.Generator().manual_seed(0)
    shape = (size,) * 3
    lags = torch.randn([2 * n - 1 for n in shape], generator=random)
    u = 1 + 0.1 * torch.randn(shape, generator=random)
    x = torch.randn(shape, generator=random).to(device)
    factors = Factors(LagKernel(lags[None], shape, ("linear",) * 3), u[None]).to(device)
    padded = padded_torch(lags.to(device), u.to(device))
    expected, got = padded(x), factors(x)
    assert torch.linalg.vector_norm(got - expected) < 1e-5 * torch.linalg.vector_norm(expected)
    operator = cone_beam(size, views)
    calls: dict[str, Callable[[], object]] = {
        "exact A*A": lambda: operator.normal(x),
        "torch's padded FFTs": lambda: padded(x),
        "factors": lambda: factors(x),
    }
    for side in sorted({PATCH, size // 2}):
        if side < size:
            calls[f"patch of {side}³"] = patch_call(factors, x, side)
    return calls


def patch_call(factors: Factors, x: torch.Tensor, side: int) -> Callable[[], object]:
    """Return a call that restricts the factors to a patch in the middle and applies them."""
    patch = Patch(tuple((n - side) // 2 for n in x.shape), (side,) * x.ndim)
    x_p = patch.extract(x).contiguous()
    return lambda: restrict(factors, patch)(x_p)


def padded_torch(lags: torch.Tensor, u: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return ``u (h ∗ x)`` by torch.fft on the whole padded grid, the spectrum computed once."""
    shape, m = u.shape, [2 * n for n in u.shape]
    placed = torch.nn.functional.pad(lags, (0, 1) * u.ndim)
    placed = placed.roll([-(n - 1) for n in shape], tuple(range(u.ndim)))
    spectrum = torch.fft.rfftn(placed)
    crop = tuple(slice(n) for n in shape)
    return lambda x: u * torch.fft.irfftn(torch.fft.rfftn(x, s=m) * spectrum, s=m)[crop]


def cone_beam(size: int, views: int):
    """Return the cone-beam operator of exact_vs_factors.py."""
    columns = size + size // 2
    document = {
        "kind": "cone_beam", "volume_shape": [size] * 3, "voxel_mm": 1.0,
        "detector_shape": [columns, columns], "pixel_mm": 1.5, "source_origin_mm": 4.0 * size,
        "origin_detector_mm": 2.0 * size, "num_views": views,
    }  # fmt: skip
    return spec_from_document(document, {}).build()


def claims(rows: list[Row], views: int) -> list[Claim]:
    """Return what is claimed, with the measured ratios; a size that is missing fails."""
    found = {row.size: row for row in rows if row.device == "cpu"}
    result = []
    for size, slow, fast, least in CLAIMED:
        if size not in found or (slow == "exact A*A" and views != 60):
            result.append(Claim(f"{size}³ with 60 views was not measured", holds=False))
            continue
        ratio = found[size].ratio(slow, fast)
        text = f"at {size}³ {fast} {ratio:.1f} times as fast as {slow} (at least {least:g})"
        result.append(Claim(text, ratio >= least))
    return result


def table(rows: list[Row]) -> str:
    """Return median times, ratios to the factors, and memory as text."""
    lines = [f"{'device':<7}{'grid':<7}{'':<22}{'ms':>10}{'factors / it':>14}{'peak MiB':>11}"]
    for row in rows:
        for name, times in row.seconds.items():
            peak = row.peak_mib[name]
            lines.append(
                f"{row.device:<7}{f'{row.size}³':<7}{name:<22}"
                f"{1e3 * statistics.median(times):>10.2f}{row.ratio('factors', name):>14.3f}"
                f"{'-' if peak is None else format(peak, '.1f'):>11}"
            )
    return "\n".join(lines)


def plot(rows: list[Row], path: Path) -> None:
    """Draw time and peak memory against the size, a panel for each per device."""
    devices = sorted({row.device for row in rows})
    figure, axes = plt.subplots(
        len(devices), 2, figsize=(11, 4.6 * len(devices)), layout="constrained", squeeze=False
    )
    for device, (time_axis, memory_axis) in zip(devices, axes, strict=True):
        own = sorted((row for row in rows if row.device == device), key=lambda row: row.size)
        for name, style in _styles().items():
            points = [(row, _own_name(row, name)) for row in own]
            measured = [(row, key) for row, key in points if key in row.seconds]
            sizes = [row.size for row, _ in measured]
            seconds = [statistics.median(row.seconds[key]) for row, key in measured]
            time_axis.plot(sizes, seconds, style, label=name)
            peaks = [(row.size, row.peak_mib[key]) for row, key in measured if row.peak_mib[key]]
            memory_axis.plot([s for s, _ in peaks], [p for _, p in peaks], style, label=name)
        ticks = [row.size for row in own]
        for axis, title in ((time_axis, "time (s)"), (memory_axis, "peak memory (MiB)")):
            axis.set(xscale="log", yscale="log", xlabel="voxels along an axis")
            axis.set_xticks(ticks, [str(tick) for tick in ticks])
            axis.set_xticks([], minor=True)
            axis.set_title(f"{title} of one application, {device}", fontsize=10)
            axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _styles() -> dict[str, str]:
    return {
        "exact A*A": "k^-",
        "torch's padded FFTs": "C1s-",
        "factors": "C0o-",
        f"patch of {PATCH}³": "C2v-",
        "patch of half the grid": "C4d--",
    }


def _own_name(row: Row, name: str) -> str:
    return f"patch of {row.size // 2}³" if name == "patch of half the grid" else name


def main() -> int:
    """Run the benchmark and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128, 192, 256])
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS / "factors_are_fast")
    arguments = parser.parse_args()
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    rows = []
    for device in map(torch.device, devices):
        for size in sorted(arguments.sizes):
            rows.append(benchmark(size, arguments.views, arguments.repeats, device))
            print(f"done: {size}³ on {device}", flush=True)
    print(table(rows))
    found = claims(rows, arguments.views)
    document = {"rows": [asdict(row) for row in rows], "claims": [asdict(c) for c in found]}
    write_json(arguments.output.with_suffix(".json"), document)
    plot(rows, arguments.output.with_suffix(".png"))
    return conclude(found)


if __name__ == "__main__":
    sys.exit(main())
