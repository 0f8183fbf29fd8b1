"""Memory does not grow with the volume: neither that of training nor that of the prior stage.

    uv run benchmarks/memory_stays_flat.py [--sizes 128 256 512] [--limit 3G] [--quick]

Peak memory of two training steps (`train`), and of the prior stage of a reconstruction (stage 1:
the prior on overlapping patches that are blended) on the first patches of a volume, by the
volume's size with the same patches and network; once with the volumes in memory, and once with
them in Zarr. In memory, what is claimed to stay is what is held beyond arrays of the volume's size,
each of which is named. In Zarr it is all.

Against it stands what the paper sets out from (its Fig. 1): unrolling the whole volume, K
iterations with factors and the backward pass through all of them, as many volumes as ours takes
patches, measured until it needs more than `--limit`, and extrapolated with a + b n³, fitted to
the measured points by relative least squares.

Every measurement is made in a process of its own, forked after the imports, after the same call
on a tiny volume: the growth of the resident peak over what is held then (on a GPU that of torch's
allocator), with every array mapped on its own, so that what is freed is given back, and without
huge pages, of which a part that is written counts whole. The smallest of `--repeats` counts, as
what the allocator keeps of small blocks only adds, up to 25 MiB. Data and factors are made, with
17 lags: factors of all lags have a kernel of eight volumes a term.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from measurement import RESULTS, Claim, conclude, write_json
from memory_cases import FULL, PRIOR, TRAINING

from normalfit.devices import resolve_device
from partunroll.memory_size import parse_memory, shown

mpl.use("Agg")
import matplotlib.pyplot as plt

ALLOWED = 1.10  # largest over smallest
FULL_SIZES = (32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256)
MEMORY, ZARR = "in memory", "in Zarr"
STAGES = {TRAINING: "training", PRIOR: "prior stage"}


class Cases:
    """A process of `memory_cases`, which forks one for every case."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        names = ("patch", "batch", "prior_batch", "iterations", "widths", "device")
        self._settings = {name: getattr(arguments, name) for name in names}
        script = Path(__file__).with_name("memory_cases.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, **case: Any) -> dict[str, Any]:
        """Measure a case."""
        self._process.stdin.write(json.dumps({**self._settings, **case}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        found = json.loads(line) if line else {"exit_code": self._process.wait()}
        if "exit_code" in found:
            msg = f"{case} must be measured, got exit code {found['exit_code']}; see above"
            raise SystemExit(msg)
        return found


def measure_sizes(arguments: argparse.Namespace, cases: Cases) -> list[dict[str, Any]]:
    """Return the peaks of training and prior stage at every size, printed as they come."""
    rows = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            cases.run(kind="make", size=size, folder=folder)
            for where, kind in itertools.product((ZARR, MEMORY), STAGES):
                is_timed = where == ZARR and size == max(arguments.sizes)
                case = {"kind": kind, "size": size, "folder": folder, "in_memory": where == MEMORY}
                found = [cases.run(**case, is_timed=is_timed)]
                found += [cases.run(**case, is_timed=False) for _ in range(1, arguments.repeats)]
                peaks = [one["peak_bytes"] for one in found]
                least = found[int(np.argmin(peaks))] | {
                    "seconds": found[0]["seconds"],
                    "peaks_bytes": peaks,
                }
                rows.append({"kind": kind, "where": where, "size": size, **least})
                print_row(rows[-1])
    return rows


def print_row(row: dict[str, Any]) -> None:
    """Print a peak, what of it is beyond arrays of the volume's size, and these."""
    lines = [
        f"{STAGES[row['kind']]:<11} {row['size']:>4}³ {row['where']:<9} peak "
        f"{megabytes(row['peak_bytes']):>9}, beyond arrays of the volume's size "
        f"{megabytes(beyond(row)):>9}"
    ]
    if len(row["peaks_bytes"]) > 1:
        lines[0] += f" (all: {', '.join(megabytes(p) for p in row['peaks_bytes'])})"
    for array in row["arrays"]:
        shape = " × ".join(map(str, array["shape"]))
        lines.append(f"    {array['name']}: {shape}, {megabytes(array['nbytes'])}")
    if row["seconds"] is not None:
        lines.append(f"    {row['seconds']:.3f} s {row['of']}")
    print("\n".join(lines), flush=True)


def measure_full(arguments: argparse.Namespace, cases: Cases, limit: int) -> list[dict[str, Any]]:
    """Return the peaks of unrolling whole volumes, up to the first that does not fit."""
    points = []
    for size in arguments.full_sizes:
        found = cases.run(kind=FULL, size=size, limit=limit)
        points.append({"size": size, **found})
        peak = found["peak_bytes"]
        what = megabytes(peak) if peak else "does not fit"
        print(f"whole volumes {size:>4}³: {what}", flush=True)
        if not peak:
            break
    return points


def fitted(points: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Return a, b and the largest relative deviation of ``a + b n³`` from the points."""
    measured = [(p["size"] ** 3, p["peak_bytes"]) for p in points if p["peak_bytes"]]
    if len(measured) < 2:
        return float("nan"), float("nan"), float("nan")
    voxels, peaks = (np.array(values, np.float64) for values in zip(*measured, strict=True))
    design = np.stack([np.ones_like(voxels), voxels], axis=1) / peaks[:, None]
    scale = np.array([1.0, voxels.max()])
    a, b = np.linalg.lstsq(design * scale, np.ones_like(peaks), rcond=None)[0] * scale
    return float(a), float(b), float(np.abs((a + b * voxels) / peaks - 1).max())


def beyond(row: dict[str, Any]) -> int:
    """Return the peak without the arrays of the volume's size."""
    return row["peak_bytes"] - sum(array["nbytes"] for array in row["arrays"])


def claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """Return what is claimed of either stage."""
    found = []
    for kind, name in STAGES.items():
        for where, value in ((MEMORY, beyond), (ZARR, lambda row: row["peak_bytes"])):
            peaks = [value(row) for row in rows if (row["kind"], row["where"]) == (kind, where)]
            ratio = max(peaks) / min(peaks) if min(peaks) > 0 else float("inf")
            what = "beyond volumes" if where == MEMORY else "in all"
            text = (
                f"{name} with volumes {where} takes {megabytes(min(peaks))} … "
                f"{megabytes(max(peaks))} {what}, a ratio of {ratio:.3f} (at most {ALLOWED:g})"
            )
            found.append(Claim(text, ratio <= ALLOWED))
    return found


def plot(
    rows: list[dict[str, Any]],
    points: list[dict[str, Any]],
    fit: tuple[float, float, float],
    limit: int,
    path: Path,
) -> None:
    """Draw the peaks by size, and whole volumes against patches."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    styles = {(TRAINING, MEMORY): "C0o--", (TRAINING, ZARR): "C0s-"}
    styles |= {(PRIOR, MEMORY): "C1o--", (PRIOR, ZARR): "C1s-"}
    for (kind, where), style in styles.items():
        those = [row for row in rows if (row["kind"], row["where"]) == (kind, where)]
        sizes = [row["size"] for row in those]
        value = beyond if where == MEMORY else (lambda row: row["peak_bytes"])
        what = "without the volumes" if where == MEMORY else "in all"
        label = f"{STAGES[kind]}, volumes {where}, {what}"
        axes[0].plot(sizes, [value(row) / 2**20 for row in those], style, label=label)
        if where == ZARR:
            axes[1].plot(sizes, [row["peak_bytes"] / 2**30 for row in those], style, label=label)
    axes[0].set(xlabel="voxels along each axis", ylabel="MiB at the peak", ylim=(0, None))
    measured = [p for p in points if p["peak_bytes"]]
    axes[1].plot(
        [p["size"] for p in measured],
        [p["peak_bytes"] / 2**30 for p in measured],
        "k^",
        label="whole volumes, measured",
    )
    sizes = np.geomspace(32, max([512, *(row["size"] for row in rows)]), 50)
    label = f"a + b n³, {fit[2]:.1%} from the points at most"
    axes[1].plot(sizes, (fit[0] + fit[1] * sizes**3) / 2**30, "k:", label=label)
    axes[1].axhline(limit / 2**30, color="0.7", linewidth=1)
    axes[1].text(32, limit / 2**30, "limit of this run", color="0.4", va="bottom", fontsize=8)
    axes[1].set(xscale="log", yscale="log", xlabel="voxels along each axis", ylabel="GiB")
    ticks = [32, 64, 128, 256, 512]
    axes[1].set_xticks(ticks, map(str, ticks))
    axes[1].minorticks_off()
    for axis in axes:
        axis.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def megabytes(nbytes: float) -> str:
    """Return an amount to read."""
    return f"{nbytes / 2**20:.1f} MiB" if nbytes < 2**30 else f"{nbytes / 2**30:.2f} GiB"


def parsed() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = partial(parser.add_argument, type=int)
    add("--sizes", nargs="+", default=[128, 256, 512], help="voxels along each axis")
    add("--full-sizes", nargs="*", default=FULL_SIZES, help="of volumes that are unrolled whole")
    add("--patch", default=48, help="voxels along each axis")
    add("--batch", default=2, help="patches of a training step, and volumes unrolled whole")
    add("--prior-batch", default=8, help="patches of a call of the prior stage")
    add("--iterations", default=3)
    add("--widths", nargs=4, default=[8, 16, 32, 64])
    add("--repeats", default=3, help="processes of each stage, of which the smallest peak counts")
    parser.add_argument("--limit", default="3G", help="of unrolling whole volumes")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="for the files, 2.5 GB at 512³; or TMPDIR")
    parser.add_argument("--quick", action="store_true", help="64³ and 80³: shows that it runs")
    parser.add_argument("--output", type=Path, default=RESULTS / "memory_stays_flat")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sizes, arguments.full_sizes, arguments.limit = [64, 80], [32, 40], "1G"
        arguments.patch, arguments.iterations, arguments.prior_batch = 32, 2, 2
        arguments.repeats = 1
    arguments.device = resolve_device(arguments.device).type
    return arguments


def main() -> int:
    """Run the benchmark."""
    arguments = parsed()
    limit = parse_memory(arguments.limit)
    cases = Cases(arguments)
    rows = measure_sizes(arguments, cases)
    points = measure_full(arguments, cases, limit)
    fit = fitted(points)
    print(f"whole volumes: {megabytes(fit[0])} + {fit[1]:.0f} bytes a voxel, at most {fit[2]:.1%}")
    for size in sorted({*arguments.sizes, 256, 512}):
        print(f"  {size}³: {shown(int(fit[0] + fit[1] * size**3))} extrapolated")
    settings = {k: str(v) for k, v in vars(arguments).items() if k != "output"}
    fit_names = dict(zip(("bytes", "bytes_per_voxel", "largest_deviation"), fit, strict=True))
    write_json(
        arguments.output.with_suffix(".json"),
        {"settings": settings, "rows": rows, "whole_volumes": points, "fit": fit_names},
    )
    plot(rows, points, fit, limit, arguments.output.with_suffix(".png"))
    return conclude(claims(rows))


if __name__ == "__main__":
    raise SystemExit(main())
