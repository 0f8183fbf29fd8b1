"""A large reconstruction stays within its memory: both stages, volumes on disk, K = 1 factors.

    uv run benchmarks/reconstruct_512.py [--size 512] [--max-memory 16G]

Simulates a cone-beam scan (a smooth object on the reconstruction's own grid: an inverse crime,
but nothing is claimed about quality) and reconstructs it with factors of one term and limited
lags, and a small untrained prior: what is measured is memory and time. The factors are made, a
kernel that falls as 1/r² and flat diagonals, as a fit would cost more than what is measured.
The default of 128³ allows what the process holds after a warm-up, and less beyond it than the
volumes take together, so that they must stay on disk; 512³ allows 16 GiB in all, and is run once
(volumes stay in memory there: it takes 6.2 GiB; `--max-memory 4G` sends them to disk). The
picture shows what the process held from the simulation on to the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import torch
from measurement import RESULTS, Claim, conclude, write_json

from normalfit.factor_file import FactorMetadata, save_factors
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.specs import spec_from_document
from normalfit.spectral_norm import SpectralNorm, spectral_norm
from partunroll.configuration.train_config import PriorConfig, UnrolledConfig
from partunroll.memory_size import parse_memory, resident_bytes, shown
from partunroll.network.checkpoint import Checkpoint, TrainedOperator, save_checkpoint
from partunroll.network.networks import build_network
from partunroll.reconstruction.reconstruct_to_file import reconstruct_to_file

mpl.use("Agg")
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from partunroll.reconstruction.reconstruction_file import ReconstructionFile

WARM_UP_SIZE = 32
VOLUMES = 15  # allowed beyond what is held; in memory, volumes and factors take about 17
SAMPLE_SECONDS = 0.2  # of the memory that is held
LARGE = 256  # from here on the allowance is one of all


def document(size: int, views: int) -> dict[str, Any]:
    """Return the operator: magnification 1.5, a detector that sees the whole grid."""
    return {
        "kind": "cone_beam", "volume_shape": [size] * 3, "voxel_mm": 1.0, "pixel_mm": 1.5,
        "detector_shape": [round(1.25 * size), round(1.6 * size)], "num_views": views,
        "source_origin_mm": 4.0 * size, "origin_detector_mm": 2.0 * size,
    }  # fmt: skip


def reconstruct(
    size: int, arguments: argparse.Namespace, folder: Path, max_memory: int | None
) -> ReconstructionFile:
    """Make a scan, factors and a network, and reconstruct."""
    spec = spec_from_document(document(size, arguments.views), {})
    operator = spec.build("numba")
    ramp = torch.linspace(-1, 1, size)
    ball = ramp[:, None, None] ** 2 + ramp[:, None] ** 2 + ramp**2
    y = operator.forward((1 - ball).clamp_min(0))
    np.save(folder / "y.npy", y.numpy())
    # the norm grows with the rays through a voxel times the length that they add up over
    small = spec_from_document(document(WARM_UP_SIZE, arguments.views), {}).build("numba")
    norm = spectral_norm(small.normal, small.domain.shape).value * size / WARM_UP_SIZE
    write_factors(folder / "factors.zarr", spec, size, arguments.lags, norm)
    config = UnrolledConfig(
        iterations=arguments.iterations, prior=PriorConfig(dim=3, widths=arguments.widths)
    )
    torch.manual_seed(0)
    trained = TrainedOperator("scan", spec.fingerprint, norm, "fdk", "hann")
    patch = (min(arguments.patch, size),) * 3
    weights = build_network(config).state_dict()
    checkpoint = Checkpoint(config, weights, (trained,), patch, normal="factors", step=0)
    save_checkpoint(folder / "untrained.pt", checkpoint)
    del y, ball
    return reconstruct_to_file(
        spec, folder / "untrained.pt", folder / "factors.zarr", folder / "y.npy",
        folder / "recon.zarr", normal="factors", max_memory=max_memory, backend="numba",
        batch=arguments.batch, device="cpu",
    )  # fmt: skip


def write_factors(path: Path, spec: Any, size: int, lags: int, norm: float) -> None:
    """Write factors whose kernel falls as 1/r², and whose norm is at most the operator's."""
    axis = torch.arange(lags, dtype=torch.float32) - lags // 2
    square = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    kernel = 1 / square.clamp_min(0.5)
    kernel *= norm / kernel.sum()
    ones = torch.ones(1, size, size, size)
    factors = Factors(LagKernel(kernel[None], (size,) * 3, ("linear",) * 3), ones, ones)
    metadata = FactorMetadata(spec, spec.fingerprint, SpectralNorm(norm, False, 1), 0.0)
    save_factors(path, factors, metadata)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="voxels along each axis")
    parser.add_argument("--views", type=int, default=30)
    parser.add_argument("--lags", type=int, default=17, help="of the factors, along each axis")
    parser.add_argument("--patch", type=int, default=32)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--widths", type=int, nargs=4, default=(4, 8, 16, 32))
    parser.add_argument("--max-memory", help="default: 16G from 256³ on")
    parser.add_argument("--output", type=Path, default=RESULTS / "reconstruct_512")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        reconstruct(WARM_UP_SIZE, arguments, Path(folder), None)
    allowed = parse_memory(arguments.max_memory or ("16G" if arguments.size >= LARGE else None))
    if allowed is None:
        forget_peak()  # compiling the projector, where it was not done before, takes more
        allowed = resident_bytes() + VOLUMES * 4 * arguments.size**3
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, memory_sampled(started) as held:
        file = reconstruct(arguments.size, arguments, Path(folder), allowed)
        facts = file.facts
    hours = (time.perf_counter() - started) / 3600
    peak, where = peak_bytes(), facts.settings["volumes"]
    print(f"{arguments.size}³, {facts.settings['num_patches']} patches of {arguments.patch}³:")
    print(f"  volumes {where}; peak {shown(peak)} of {shown(allowed)}; {hours:.3f} h in all")
    for stage, seconds in enumerate(facts.seconds, 1):
        print(f"  stage {stage}: {seconds / 3600:.3f} h")
    figures = {
        "size": arguments.size, "peak_bytes": peak, "allowed_bytes": allowed, "hours": hours,
        "resident_bytes_at_end": resident_bytes(), "volumes": where,
        "stage_seconds": facts.seconds, "iterations": facts.iterations,
        "patch_iterations": facts.patch_iterations,
    }  # fmt: skip
    write_json(arguments.output.with_suffix(".json"), {**figures, "held": held})
    plot(held, allowed, f"{arguments.size}³, volumes {where}", arguments.output)
    text = (
        f"{arguments.size}³ is reconstructed with its volumes {where} at a peak of {shown(peak)}, "
        f"{shown(allowed)} allowed, in {hours:.3f} h"
    )
    # a small volume would stay within any allowance: it is there to go through the disk
    through_disk = where == "on disk" or arguments.size >= LARGE
    return conclude([Claim(text, peak <= allowed and through_disk)])


@contextmanager
def memory_sampled(started: float) -> Iterator[list[tuple[float, int]]]:
    """Yield a list to which seconds since the start, and bytes held, are added in the block."""
    held: list[tuple[float, int]] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            held.append((time.perf_counter() - started, resident_bytes()))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield held
    finally:
        ended.set()
        thread.join()


def plot(held: list[tuple[float, int]], allowed: int, title: str, output: Path) -> None:
    """Draw the memory that was held over time, and what is allowed."""
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    axes.plot([seconds for seconds, _ in held], [nbytes / 2**30 for _, nbytes in held])
    axes.axhline(allowed / 2**30, color="0.5", linestyle="--")
    axes.text(0, allowed / 2**30, "allowed", color="0.4", va="bottom")
    axes.set(xlabel="seconds", ylabel="GiB held", title=title, ylim=(0, 1.15 * allowed / 2**30))
    figure.savefig(output.with_suffix(".png"), dpi=110)
    plt.close(figure)


def forget_peak() -> None:
    """Let the peak begin anew from what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """Return the most that this process has held since."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    sys.exit(main())
