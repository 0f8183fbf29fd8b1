"""PSNR and time against memory, for several patch sizes: the paper's figures 7 and 8.

    uv run benchmarks/patch_size_study.py [--size 32] [--patches 12 16 24 32] [--voxels 1500000]
        [--seeds 0] [--quick] [--volumes FILE... --test-volumes FILE...]

One network, trained on patches of each size with equal budgets: every training sees the same
number of voxels (steps × patches per step × voxels of a patch; small patches take more steps).
The patch of the grid's size is training on whole volumes, with factors in place of A*A. PSNR is
of held-out volumes, after stage 1 (patches of the same size blended) and stage 2 (context
refinement). Memory is what a training step takes beyond weights, gradients and optimizer, which
are the same for all (the table's last column), and beyond the data: activations and what comes and
goes, as `partunroll train --plan` measures them. Seconds are the median of all steps.

Made objects, cone beam, simulated on a twice finer grid with 20,000 photons per ray; --volumes
takes real ones. Claims: every smaller patch takes less memory than the next larger one; and the
patch nearest to half of the grid is, after stage 2, at most 0.5 dB below training on the largest,
with at most a third of its memory.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import torch
import yaml
from measurement import RESULTS, Claim, conclude, write_json

from normalfit.factor_file import open_factors
from normalfit.fit_to_file import fit_to_file
from normalfit.specs import load_spec
from partunroll.configuration.train_config import load_config
from partunroll.measurements.noise import PhotonNoise
from partunroll.measurements.simulation import simulate
from partunroll.network.checkpoint import load_checkpoint
from partunroll.objects.object_sources import MadeObjects
from partunroll.reconstruction.two_stages import reconstruct
from partunroll.store.data_store import DataStore
from partunroll.training.patch_training import train
from partunroll.training.run_log import read_log
from partunroll.volumes.image_metrics import Comparison

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullLocator

if TYPE_CHECKING:
    from partunroll.training.training_plan import TrainingPlan

VIEWS, PHOTONS, SMALLEST = 24, 2e4, 0.06
ALLOWED_LOSS, ALLOWED_SHARE = 0.5, 1 / 3  # dB, and of the largest patch's memory


@dataclass(frozen=True)
class Row:
    """What one patch size came to, with one training seed."""

    patch: int
    seed: int
    steps: int
    stage1: float
    stage2: float
    memory: int
    weights: int  # with gradients and optimizer
    step_seconds: float
    training_seconds: float


class Study:
    """The data and factors that all patch sizes share."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self.folder, self.arguments = folder, arguments
        n = arguments.size
        document = {
            "kind": "cone_beam", "volume_shape": [n, n, n], "voxel_mm": 1.0,
            "detector_shape": [n + n // 2] * 2, "pixel_mm": 1.5, "num_views": VIEWS,
            "source_origin_mm": 4.0 * n, "origin_detector_mm": 2.0 * n,
        }  # fmt: skip
        (folder / "cone.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        self.spec = load_spec(folder / "cone.yaml")
        self.data, self.test = folder / "data.zarr", folder / "test.zarr"
        self.factors = folder / "factors.zarr"
        shared: dict[str, Any] = {"noise": PhotonNoise(PHOTONS)}
        trained = arguments.volumes or MadeObjects(arguments.objects, 0, SMALLEST)
        tested = arguments.test_volumes or MadeObjects(arguments.test_objects, 1, SMALLEST)
        simulate({"cone": self.spec}, trained, self.data, **shared)
        simulate({"cone": self.spec}, tested, self.test, split="test", **shared)
        fit_to_file(self.spec, self.factors, probes=arguments.probes)

    def row(self, patch: int, seed: int) -> Row:
        """Train on patches of one size, and reconstruct the held-out volumes."""
        steps = max(1, round(self.arguments.voxels / (self.arguments.batch * patch**3)))
        config = load_config(
            None,
            {
                "network.iterations": 3,
                "patch_shape": patch,
                "batch": self.arguments.batch,
                "steps": steps,
                "warmup_steps": min(20, steps // 4),
                "validation.every": steps,
                "seed": seed,
            },
        )
        plans: list[TrainingPlan] = []
        run = self.folder / f"run-{patch}-{seed}"
        train(config, [self.factors], self.data, run, on_plan=plans.append)
        (plan,) = plans
        times = [
            line["seconds"] + line["data_seconds"]
            for line in read_log(run / "log.jsonl")
            if "data_seconds" in line
        ]
        memory, weights = plan.activations + plan.working, plan.weights + plan.gradients
        return Row(
            patch,
            seed,
            steps,
            *self._psnr(run),
            memory,
            weights + plan.optimizer,
            statistics.median(times),
            sum(times),
        )

    def _psnr(self, run: Path) -> tuple[float, float]:
        checkpoint, file = load_checkpoint(run / "last.pt"), open_factors(self.factors)
        network, operator = checkpoint.build_network(torch.device("cpu")), self.spec.build()
        store, figures = DataStore.open(self.test), []
        for sample in store.samples:
            y, x0, truth = (
                torch.from_numpy(store.read(sample.id, array))
                for array in ("measurements", "initial_estimate", "reference")
            )
            result = reconstruct(
                network, operator, y, file.load(), file.norm.value, x0, stages=2,
                patch_shape=checkpoint.patch_shape,
            )  # fmt: skip
            comparison = Comparison.with_reference(truth)
            figures.append([comparison.psnr(x, truth) for x in (result.stage1, result.final)])
        stage1, stage2 = (statistics.fmean(column) for column in zip(*figures, strict=True))
        return stage1, stage2


def table(rows: list[Row]) -> str:
    """Return the results as text."""
    lines = ["patch  seed  steps  stage 1  stage 2  memory MB  s per step  training s  weights MB"]
    lines += [
        f"{r.patch:>4}³ {r.seed:>5} {r.steps:>6} {r.stage1:>8.2f} {r.stage2:>8.2f} "
        f"{r.memory / 1e6:>10.1f} {r.step_seconds:>11.3f} {r.training_seconds:>11.0f} "
        f"{r.weights / 1e6:>11.1f}"
        for r in rows
    ]
    return "\n".join(lines)


def mean_of(rows: list[Row], patch: int, field: str) -> float:
    """Return the mean of a figure over the seeds of a patch size."""
    return statistics.fmean(getattr(row, field) for row in rows if row.patch == patch)


def plot(rows: list[Row], size: int, path: Path) -> None:
    """Draw PSNR and time per step against memory."""
    patches = sorted({row.patch for row in rows})
    memory = [mean_of(rows, p, "memory") / 1e6 for p in patches]
    figure, (quality, speed) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for field, label, mark in (("stage1", "stage 1", "o--"), ("stage2", "stage 2", "s-")):
        quality.plot(memory, [mean_of(rows, p, field) for p in patches], mark, label=label, ms=5)
    quality.set_ylabel("PSNR of held-out volumes (dB)")
    quality.legend(frameon=False, fontsize=9)
    speed.plot(memory, [mean_of(rows, p, "step_seconds") for p in patches], "o-", color="C2", ms=5)
    speed.set_ylabel("seconds per training step")
    for axis, field in ((quality, "stage2"), (speed, "step_seconds")):
        for p, x in zip(patches, memory, strict=True):
            place = (x, mean_of(rows, p, field))
            axis.annotate(f"{p}³", place, (5, -11), textcoords="offset points", fontsize=9)
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xticks(memory, [f"{m:.3g}" for m in memory])
        axis.set_xlabel("memory of a training step beside the weights (MB)")
        axis.margins(x=0.12, y=0.14)
        axis.grid(alpha=0.3)
    speed.set_ylim(bottom=0)
    figure.suptitle(f"Patch sizes on a grid of {size}³, equal numbers of voxels seen", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def claims_of(rows: list[Row], size: int) -> list[Claim]:
    """Return what must hold of the figures."""
    patches = sorted({row.patch for row in rows})
    memory = {p: mean_of(rows, p, "memory") for p in patches}
    rising = all(memory[a] < memory[b] for a, b in itertools.pairwise(patches))
    shown = ", ".join(f"{p}³ {memory[p] / 1e6:.0f} MB" for p in patches)
    largest = patches[-1]
    half = min(patches, key=lambda p: abs(p - size / 2))
    loss = mean_of(rows, largest, "stage2") - mean_of(rows, half, "stage2")
    share = memory[half] / memory[largest]
    text = (
        f"{half}³ after stage 2 is {-loss:+.2f} dB from {largest}³ (at least "
        f"{-ALLOWED_LOSS}), with {share:.2f} of its memory (at most {ALLOWED_SHARE:.2f})"
    )
    return [
        Claim(f"memory rises with the patch: {shown}", rising),
        Claim(text, loss <= ALLOWED_LOSS and share <= ALLOWED_SHARE),
    ]


def main() -> int:
    arguments = _parsed()
    print(
        f"equal budget: {arguments.voxels:,} voxels seen by every training, "
        f"{arguments.batch} patches a step",
        flush=True,
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder), arguments)
        for patch in sorted(arguments.patches):
            for seed in arguments.seeds:
                rows.append(study.row(patch, seed))
                print(table(rows[-1:]).splitlines()[1], flush=True)
    print(table(rows))
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items()}
    document = {"settings": settings, "rows": [asdict(row) for row in rows]}
    write_json(arguments.output.with_suffix(".json"), document)
    plot(rows, arguments.size, arguments.output.with_suffix(".png"))
    return conclude(claims_of(rows, arguments.size))


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=32, help="voxels along each axis")
    parser.add_argument("--patches", type=int, nargs="+", default=[12, 16, 24, 32])
    parser.add_argument("--batch", type=int, default=1, help="patches per step")
    parser.add_argument("--voxels", type=int, default=1_500_000, help="seen by each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--objects", type=int, default=16, help="made, to train on")
    parser.add_argument("--test-objects", type=int, default=3, help="made, to test with")
    parser.add_argument("--volumes", nargs="+", default=[], metavar="FILE", help="to train on")
    parser.add_argument("--test-volumes", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--probes", type=int, default=32, help="of the fit of the factors")
    parser.add_argument("--quick", action="store_true", help="16³, 8³ and 16³: shows that it runs")
    parser.add_argument("--output", type=Path, default=RESULTS / "patch_size_study")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.size, arguments.patches, arguments.voxels = 16, [8, 16], 40_960
        arguments.objects, arguments.test_objects, arguments.probes = 4, 1, 8
    if max(arguments.patches) > arguments.size:
        parser.error(f"--patches must be at most {arguments.size}, got {max(arguments.patches)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
