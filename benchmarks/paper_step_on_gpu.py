"""Training steps of the paper's size on a GPU: seconds and peak memory, beside the paper's.

    uv run benchmarks/paper_step_on_gpu.py [--patches 96 128] [--quick]

One network, deepinv's 3-D DRUNet with its own widths (64, 128, 256, 512) and 4 residual blocks a
scale: 96,539,712 parameters, with the step sizes 96,539,717; the paper says 96.5 M. K = 5
iterations, one patch a step, factors with one term and all lags. A step is `training_step`:
forward, backward, clipping and Adam, for every combination of fp32 or bf16, activations kept or
computed again (checkpointing), and the prior as it is or by torch.compile. What does not fit is
said. Seconds are the median of the steps after three, and for a compiled prior after its
compilation; memory is the peak of torch's allocator, weights and optimizer included.

The paper states 1.20 s and 44.7 GB a step on an H100. Nothing is claimed against it but where
the GPU is an H100: then some way takes at most its seconds, and some way at most its memory, at
patches of 96³. Even so the two are not the same measurement: what was kept for the backward pass,
the batch, the patches' shape, the precision of matrix products (TF32 is off here unless
`--tf32`) and whether the data step (the paper's with one circulant and one diagonal, ours padded
to linear convolution) and the loading of data count, is not known of it to the last detail; the
loading of data, with the exact gradient of each patch, does not count here. On other GPUs the
figures stand beside it without a claim but that every step is finite.

Without a GPU it refuses, unless `--quick`: a network of the same kind with small widths on
patches of 16³, on the CPU, which shows that it runs and says nothing else.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import math
import statistics
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from measurement import RESULTS, Claim, conclude, peak_bytes_of_one, times_in_turns, write_json

from normalfit.errors import NormalfitError
from normalfit.factors import Factors
from normalfit.grid import Patch
from normalfit.lag_kernel import LagKernel
from partunroll.configuration.train_config import TrainConfig
from partunroll.errors import PartunrollError
from partunroll.network.prior_compilation import compilation_failures_named
from partunroll.network.trained_on import TrainedOn
from partunroll.patches.patch_batch import PatchBatch
from partunroll.training.training_state import TrainingState
from partunroll.training.training_step import training_step

mpl.use("Agg")
import matplotlib.pyplot as plt

WIDTHS, BLOCKS, ITERATIONS = (64, 128, 256, 512), 4, 5
PAPER_PARAMETERS, PAPER_SECONDS, PAPER_BYTES, PAPER_GPU = 96.5e6, 1.20, 44.7e9, "H100"
PAPER_PATCH = 96  # our choice of the two sizes to compare at
WARM_UP = 2  # steps before those that are timed, and one more in `times_in_turns`


@dataclass(frozen=True)
class Row:
    """One way to take a step; without figures where it did not fit or could not be compiled."""

    patch: int
    precision: str
    checkpointing: bool
    compiled: bool
    parameters: int | None = None
    seconds: list[float] | None = None
    peak_bytes: int | None = None
    loss: float | None = None
    problem: str | None = None

    @property
    def median(self) -> float:
        """Seconds of a step; infinite without any."""
        return statistics.median(self.seconds) if self.seconds else math.inf


def config_of(arguments: argparse.Namespace, row: Row) -> TrainConfig:
    """Return the configuration of a way."""
    prior = {"dim": 3, "widths": arguments.widths, "blocks": arguments.blocks}
    return TrainConfig.model_validate(
        {
            "network": {"iterations": arguments.iterations, "prior": prior},
            "patch_shape": row.patch,
            "batch": arguments.batch,
            "precision": row.precision,
            "checkpointing": row.checkpointing,
            "compile": row.compiled,
            "device": arguments.device,
        }
    ).resolved((row.patch,) * 3)


def made_batch(patch: int, batch: int, device: torch.device) -> PatchBatch:
    """Return patches of noise with factors of one term and all lags, of a norm below one."""
    generator = torch.Generator().manual_seed(1)
    shape, lags = (patch,) * 3, (2 * patch - 1,) * 3
    kernel = torch.rand((1, *lags), generator=generator) / math.prod(lags)
    u = torch.rand((batch, 1, *shape), generator=generator)
    factors = Factors(LagKernel(kernel, shape, ("linear",) * 3), u).to(device)
    x0, truth, g0 = (torch.rand((batch, *shape), generator=generator) for _ in range(3))
    places = (Patch((0, 0, 0), shape),) * batch
    return PatchBatch(0, "made", ("a",) * batch, places, x0, truth, 0.01 * g0, factors).to(device)


def measured(arguments: argparse.Namespace, row: Row) -> Row:
    """Return the way with its figures, or with what kept it from having some."""
    device = torch.device(arguments.device)
    _clear(device)
    before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
    try:
        with compilation_failures_named():
            found = _measured(arguments, row, device, before)
    except (torch.OutOfMemoryError, MemoryError):
        found = {"problem": "does not fit"}
    except (NormalfitError, PartunrollError) as error:
        found = {"problem": str(error)}
    torch.compiler.reset()
    return Row(**{**asdict(row), **found})


def _measured(
    arguments: argparse.Namespace, row: Row, device: torch.device, before: int
) -> dict[str, Any]:
    state = TrainingState.fresh(config_of(arguments, row), TrainedOn((), (), "", {}), device)
    batch = made_batch(row.patch, arguments.batch, device)
    step = partial(training_step, state, [batch])
    for _ in range(WARM_UP):
        figures = step()
    times = times_in_turns({"step": step}, arguments.repeats, device=device)["step"]
    held = torch.cuda.memory_allocated() - before if device.type == "cuda" else 0
    return {
        "parameters": sum(p.numel() for p in state.network.parameters()),
        "seconds": times,
        "peak_bytes": held + peak_bytes_of_one(step, device=device),
        "loss": figures["loss"],
    }


def _clear(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def line(row: Row) -> str:
    """Return a way and its figures as text."""
    name = (
        f"{row.patch:>3}³ {row.precision:<5} {'again' if row.checkpointing else 'kept':<6} "
        f"{'compiled' if row.compiled else '':<9}"
    )
    if row.problem:
        return f"{name} {row.problem}"
    return f"{name} {row.median:>8.3f} s {row.peak_bytes / 1e9:>7.2f} GB"


def claims(rows: list[Row], gpu: str | None) -> list[Claim]:
    """Return what is claimed: against the paper on its GPU, else that steps are finite."""
    done = [row for row in rows if row.seconds]
    if not done:
        return []
    parameters = done[0].parameters
    if gpu is None or PAPER_GPU not in gpu:
        text = f"{len(done)} of {len(rows)} ways take finite steps of {parameters:,} parameters"
        return [Claim(f"{text} on {gpu or 'the CPU'}", all(math.isfinite(r.loss) for r in done))]
    near = abs(parameters / PAPER_PARAMETERS - 1)
    those = [row for row in done if row.patch == PAPER_PATCH] or done
    fastest = min(those, key=lambda row: row.median)
    least = min(those, key=lambda row: row.peak_bytes)
    return [
        Claim(f"{parameters:,} parameters, {near:.2%} from the paper's", near < 0.005),
        Claim(
            f"the fastest way takes {fastest.median:.2f} s a step (paper: {PAPER_SECONDS:.2f})",
            fastest.median <= PAPER_SECONDS,
        ),
        Claim(
            f"the leanest way takes {least.peak_bytes / 1e9:.1f} GB "
            f"(paper: {PAPER_BYTES / 1e9:.1f})",
            least.peak_bytes <= PAPER_BYTES,
        ),
    ]


def plot(rows: list[Row], path: Path) -> None:
    """Draw memory against time, with the paper's figures."""
    figure, axis = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    for patch, marker in zip(sorted({row.patch for row in rows}), "os^v", strict=False):
        for row in rows:
            if row.patch != patch or not row.seconds:
                continue
            colour = "C0" if row.precision == "fp32" else "C1"
            fill = "none" if row.checkpointing else colour
            axis.plot(
                row.median, row.peak_bytes / 1e9, marker, color=colour, markerfacecolor=fill,
                markersize=10 if row.compiled else 6,
            )  # fmt: skip
        axis.plot([], [], f"k{marker}", label=f"patch {patch}³")
    axis.plot([], [], "C0o", label="fp32")
    axis.plot([], [], "C1o", label="bf16")
    axis.plot([], [], "ko", markerfacecolor="none", label="activations computed again")
    axis.plot([], [], "ko", markersize=10, label="compiled")
    axis.plot(PAPER_SECONDS, PAPER_BYTES / 1e9, "C3*", markersize=14, label="paper (H100)")
    axis.set(xscale="log", yscale="log", xlabel="seconds a step", ylabel="GB at the peak")
    axis.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def parsed() -> argparse.Namespace:
    """Return the command line; ends with an error where there is no GPU for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=int, nargs="+", default=[96, 128], help="voxels an axis")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tf32", action="store_true", help="TF32 in fp32 convolutions")
    parser.add_argument("--no-compile", action="store_true", help="leave compiled ways out")
    parser.add_argument("--quick", action="store_true", help="a tiny network: shows that it runs")
    parser.add_argument("--output", type=Path, default=RESULTS / "paper_step_on_gpu")
    arguments = parser.parse_args()
    arguments.widths, arguments.blocks, arguments.iterations = WIDTHS, BLOCKS, ITERATIONS
    arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    if arguments.quick:
        arguments.widths, arguments.blocks, arguments.iterations = (2, 2, 2, 2), 1, 2
        arguments.patches, arguments.repeats, arguments.no_compile = [16], 1, True
    elif arguments.device == "cpu":
        print("error: device must be a GPU, got the CPU; use one, or --quick", file=sys.stderr)
        raise SystemExit(2)
    return arguments


def main() -> int:
    """Run the benchmark."""
    arguments = parsed()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    gpu = torch.cuda.get_device_name() if arguments.device == "cuda" else None
    rows = []
    compiled = (False,) if arguments.no_compile else (False, True)
    for way in itertools.product(arguments.patches, ("fp32", "bf16"), (False, True), compiled):
        rows.append(measured(arguments, Row(*way)))
        print(line(rows[-1]), flush=True)
    settings = {k: v for k, v in vars(arguments).items() if k != "output"}
    write_json(
        arguments.output.with_suffix(".json"),
        {
            "settings": settings,
            "paper": {"seconds": PAPER_SECONDS, "bytes": PAPER_BYTES, "gpu": PAPER_GPU},
            "rows": [asdict(row) for row in rows],
        },
    )
    plot(rows, arguments.output.with_suffix(".png"))
    return conclude(claims(rows, gpu))


if __name__ == "__main__":
    raise SystemExit(main())
