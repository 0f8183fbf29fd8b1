"""Does a better approximation of A*A make a better reconstruction?

    uv run benchmarks/accuracy_and_reconstruction.py [--quick] [--seeds 0 1 2] [--size 48]
        [--device auto]

The network of `partunroll demo`, trained with the factors of several models, and with the exact
restricted operator, on the same data and from the same seeds. PSNR of held-out objects after
stage 1 and stage 2, with the 95 % interval of the mean over the seeds (Student's t).

Claim: with the default model of `normalfit fit` the reconstruction is not worse than with the
paper's, beyond the interval of their paired difference. It takes about half an hour on two
cores; `--quick` is small enough for ten minutes.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from measurement import RESULTS, Claim, conclude, write_json
from scipy.special import stdtrit

from normalfit.devices import resolve_device
from normalfit.factor_file import open_factors
from normalfit.fit_to_file import fit_to_file
from normalfit.model import Model
from normalfit.specs import load_spec
from partunroll.demo.demo_commands import TEST_SERIES, TRAIN_SERIES
from partunroll.demo.demo_scans import ConeBeamScan
from partunroll.demo.demo_settings import STANDARD, DemoSettings
from partunroll.measurements.simulation import simulate
from partunroll.network.checkpoint import load_checkpoint
from partunroll.objects.object_sources import MadeObjects
from partunroll.reconstruction.two_stages import reconstruct
from partunroll.store.data_store import DataStore
from partunroll.training.patch_training import train

mpl.use("Agg")
import matplotlib.pyplot as plt

MODELS = {
    "periodic D C (paper)": Model("diagonal-circulant", "periodic", terms=1),
    "D C": Model("diagonal-circulant", terms=1),
    "default": Model(),
    "local": Model("local"),
    "exact": None,
}
FULL = replace(STANDARD, steps=500, validate_every=500, probes=64)
QUICK = replace(
    STANDARD, num_voxels=32, scan=ConeBeamScan(20, 2e4), train=24, validation=1, test=2, patch=24,
    steps=60, learning_rate=4e-3, validate_every=60, probes=16,
)  # fmt: skip


class Chain:
    """The data that all trainings share, and one training after the other."""

    def __init__(self, folder: Path, settings: DemoSettings, device: str) -> None:
        self.folder, self.settings, self.device = folder, settings, device
        (folder / "operator.yaml").write_text(settings.operator_yaml(), encoding="utf-8")
        self.spec = load_spec(folder / "operator.yaml")
        self.data, self.test = folder / "data.zarr", folder / "test.zarr"
        shared: dict[str, Any] = {"noise": settings.scan.noise, "device": device}
        trained = MadeObjects(settings.train + settings.validation, TRAIN_SERIES, settings.smallest)
        held_out = MadeObjects(settings.test, TEST_SERIES, settings.smallest)
        specs = {"operator": self.spec}
        simulate(specs, trained, self.data, validation=settings.validation, **shared)
        simulate(specs, held_out, self.test, split="test", **shared)

    def fit(self, name: str, model: Model | None, probes: int) -> dict[str, Any]:
        """Fit factors, and return their errors; of the exact operator only the norm is used."""
        model = model or Model("diagonal-circulant", terms=1)
        file = fit_to_file(
            self.spec, self.factors(name), model=model, probes=probes, device=self.device
        )
        report = file.metadata.report
        return {key: report[key] for key in ("grid_error", "patch_error", "terms", "seconds")}

    def factors(self, name: str) -> Path:
        """Return the path of a model's factor file."""
        return self.folder / f"factors-{list(MODELS).index(name)}.zarr"

    def psnr(self, name: str, seed: int) -> dict[str, list[float]]:
        """Train a network and return the PSNR of every held-out object after both stages."""
        run = self.folder / f"run-{list(MODELS).index(name)}-{seed}"
        config = self.settings.train_config("unrolled", seed, self.device)
        config = config.model_copy(update={"normal": "factors" if MODELS[name] else "restricted"})
        train(config, [self.factors(name)], self.data, run)
        checkpoint, file = load_checkpoint(run / "best.pt"), open_factors(self.factors(name))
        store, figures = DataStore.open(self.test), {"stage 1": [], "stage 2": []}
        for sample in store.samples:
            y, x0, truth = (
                torch.from_numpy(store.read(sample.id, array)).to(resolve_device(self.device))
                for array in ("measurements", "initial_estimate", "reference")
            )
            result = reconstruct(
                checkpoint.build_network(y.device), self.spec.build(), y, file.load(y.device),
                file.norm.value, x0, patch_shape=checkpoint.patch_shape, stages=2,
                patch_normal="factors" if MODELS[name] else "restricted",
            )  # fmt: skip
            figures["stage 1"].append(_psnr(result.stage1, truth))
            figures["stage 2"].append(_psnr(result.final, truth))
        return figures


def _psnr(found: torch.Tensor, truth: torch.Tensor) -> float:
    return -10 * math.log10(float((found - truth).square().mean()))


def interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and the half width of its 95 % interval."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, math.inf
    error = statistics.stdev(values) / math.sqrt(len(values))
    return mean, float(stdtrit(len(values) - 1, 0.975)) * error


def plot(means: dict[str, dict[str, tuple[float, float]]], path: Path) -> None:
    """Draw the PSNR of every model with its interval."""
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for offset, stage in ((-0.12, "stage 1"), (0.12, "stage 2")):
        places = [i + offset for i in range(len(means))]
        values = [means[name][stage][0] for name in means]
        widths = [means[name][stage][1] for name in means]
        axis.errorbar(places, values, widths, fmt="o", capsize=4, label=stage)
    axis.set_xticks(range(len(means)), list(means))
    axis.set_ylabel("PSNR of held-out objects (dB)")
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="32³ and 60 steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--probes", type=int, help="64, or 16 with --quick")
    parser.add_argument("--size", type=int, help="voxels along each axis: 48, or 32 with --quick")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--output", type=Path, default=RESULTS / "accuracy_and_reconstruction")
    arguments = parser.parse_args()
    settings = QUICK if arguments.quick else FULL
    if arguments.size:
        settings = replace(settings, num_voxels=arguments.size)
    probes = arguments.probes or settings.probes
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        chain = Chain(Path(folder), settings, arguments.device)
        for name, model in MODELS.items():
            rows[name] = {"fit": chain.fit(name, model, probes), "psnr": {}}
            for seed in arguments.seeds:
                rows[name]["psnr"][seed] = chain.psnr(name, seed)
                print(f"done: {name}, seed {seed}", flush=True)
    by_seed = {
        name: {
            stage: [statistics.mean(figures[stage]) for figures in row["psnr"].values()]
            for stage in ("stage 1", "stage 2")
        }
        for name, row in rows.items()
    }
    means = {
        name: {stage: interval(values) for stage, values in stages.items()}
        for name, stages in by_seed.items()
    }
    for name, stages in means.items():
        error = "" if MODELS[name] is None else rows[name]["fit"]["grid_error"]["value"]
        shown = "   ".join(f"{stage} {m:.2f} ± {w:.2f} dB" for stage, (m, w) in stages.items())
        print(f"{name:<22} grid error {error!s:<8.6} {shown}")
    write_json(arguments.output.with_suffix(".json"), {"rows": rows, "means": means})
    plot(means, arguments.output.with_suffix(".png"))
    claims = []
    for stage in ("stage 1", "stage 2"):
        pairs = zip(by_seed["default"][stage], by_seed["periodic D C (paper)"][stage], strict=True)
        mean, width = interval([a - b for a, b in pairs])
        text = f"default - paper, {stage}: {mean:+.2f} ± {width:.2f} dB"
        claims.append(Claim(f"{text}, not below zero beyond the interval", mean + width >= 0))
    sys.exit(conclude(claims))


if __name__ == "__main__":
    main()
