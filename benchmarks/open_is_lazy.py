"""Opening a factor file, and reading one patch of it, cost the same whatever the grid's size.

For every size a file with one term is written (full lags up to `--max-lags` an axis), then opened
and restricted to a patch of 64³ at an offset that is no multiple of the chunks. *Bytes* are what
the process has read meanwhile (`rchar` of /proc/self/io: every read call, from the cache or not).
Claimed: times and bytes of the sizes are within three times of each other.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import torch
from measurement import RESULTS, Claim, conclude, times_in_turns, write_json

from normalfit.factor_file import FactorMetadata, open_factors, save_factors
from normalfit.factors import Factors
from normalfit.grid import Patch
from normalfit.lag_kernel import LagKernel
from normalfit.spectral_norm import SpectralNorm

if TYPE_CHECKING:
    from collections.abc import Callable

mpl.use("Agg")
import matplotlib.pyplot as plt

PATCH = 64
SPREAD = 3.0
KINDS = ("open", "restrict")


@dataclass(frozen=True)
class Row:
    """What opening a file of one size, and restricting it, cost."""

    size: int
    lags: int
    file_bytes: int
    open_seconds: float
    open_bytes: int
    restrict_seconds: float
    restrict_bytes: int


def main() -> int:
    """Write files, read them in turns, write the results, and return 0 if the claim holds."""
    arguments = _parsed()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        paths = {n: _written(Path(folder) / f"{n}.zarr", n, arguments) for n in arguments.sizes}
        calls = {(kind, n): _call(kind, paths[n], n) for kind in KINDS for n in paths}
        times = times_in_turns(
            {f"{kind} {n}": call for (kind, n), call in calls.items()}, arguments.repeats
        )
        rows = [
            Row(
                n,
                open_factors(paths[n]).header.lags[0],
                open_factors(paths[n]).num_bytes,
                min(times[f"open {n}"]),  # the others are disturbed
                _bytes_read(calls["open", n]),
                min(times[f"restrict {n}"]),
                _bytes_read(calls["restrict", n]),
            )
            for n in paths
        ]
    for row in rows:
        print(row, flush=True)
    write_json(arguments.output.with_suffix(".json"), {"rows": [asdict(row) for row in rows]})
    _draw(rows, arguments.output.with_suffix(".png"))
    return conclude([_claim(rows, name) for name in asdict(rows[0]) if name.startswith(KINDS)])


def _written(path: Path, n: int, arguments: argparse.Namespace) -> Path:
    """Write factors that do not compress where a patch reads them."""
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(n)
    lags = min(2 * n - 1, arguments.max_lags)
    h = torch.zeros(1, lags, lags, lags)
    centre = slice(lags // 2 - min(PATCH, lags // 2), lags // 2 + PATCH + 1)
    h[0, centre, centre, centre].normal_(generator=generator)
    u = torch.randn(1, n, n, n, generator=generator)
    factors = Factors(LagKernel(h, (n, n, n), ("linear",) * 3), u)
    save_factors(path, factors, FactorMetadata(None, "benchmark", SpectralNorm(1.0, True, 1), 0.0))
    print(f"{n}³ with {lags}³ lags written in {time.perf_counter() - started:.0f} s", flush=True)
    return path


def _call(kind: str, path: Path, n: int) -> Callable[[], object]:
    if kind == "open":
        return lambda: open_factors(path)
    file, side = open_factors(path), min(PATCH, n)
    patch = Patch(((n - side) // 2 + (5 if n > side else 0),) * 3, (side,) * 3)
    return lambda: file.restrict(patch)


def _bytes_read(call: Callable[[], object]) -> int:
    before = _read_so_far()
    call()
    return _read_so_far() - before


def _read_so_far() -> int:
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def _claim(rows: list[Row], name: str) -> Claim:
    values = [getattr(row, name) for row in rows]
    ratio = max(values) / min(values)
    text = f"{name} of {' '.join(str(row.size) for row in rows)}: within {ratio:.2f} <= {SPREAD:g}"
    return Claim(text, ratio <= SPREAD)


def _draw(rows: list[Row], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
    sizes = [row.size for row in rows]
    for axis, unit, scale in ((axes[0], "seconds", 1.0), (axes[1], "bytes", 1.0)):
        for kind in KINDS:
            axis.loglog(
                sizes, [getattr(r, f"{kind}_{unit}") / scale for r in rows], "o-", label=kind
            )
        axis.set_xticks(sizes, [f"{n}³" for n in sizes])
        axis.set_xlabel("grid")
        axis.set_ylabel(unit)
        axis.minorticks_off()
    axes[1].loglog(sizes, [row.file_bytes for row in rows], "k:", label="the whole file")
    axes[1].legend()
    figure.savefig(path, dpi=120)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--max-lags", type=int, default=511, help="odd; 1023 are all of 512³")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the files are made; default: temporary")
    parser.add_argument("--output", type=Path, default=RESULTS / "open_is_lazy")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
