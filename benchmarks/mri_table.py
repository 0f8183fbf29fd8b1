"""Multi-coil MRI in one table: untrained methods, post-processing, and unrolled networks.

    uv run benchmarks/mri_table.py [--size 32] [--steps 150] [--train FILE... --test FILE...]

The paper's tables 2 and 3 in small. Hybrid space (the first axis is read out and transformed),
12 simulated coils, R = 5 and R = 10 trained together, data **simulated** on a twice finer grid with
a smooth random phase and 2 % noise. Without files, made objects are trained on and tested with;
the volumes of --test are never trained on. Figures are of magnitudes, the mean over the test
volumes, for each R.

Networks have a 2-D DRUNet and proximal data steps (remark 4.1). Rows: zero-filled, CG-SENSE, TV,
post-processing, the unrolled network on whole slices with the exact A*A (hybrid space separates
them), and ours on patches with the exact A*A and with factors of 1, 2, 4 and all virtual coils, by
stages 1 and 2. The claim: ours with all virtual coils is not below post-processing by more than the
larger of both differences between the seeds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import yaml
from measurement import RESULTS, Claim, conclude, write_json

from normalfit.factor_file import open_factors
from normalfit.fit_to_file import fit_to_file
from normalfit.specs import load_spec
from partunroll.baselines.iterative import cg_reconstruction, total_variation, zero_filled
from partunroll.configuration.train_config import load_config
from partunroll.measurements.noise import RelativeNoise
from partunroll.measurements.simulation import simulate
from partunroll.network.checkpoint import load_checkpoint
from partunroll.objects.object_sources import MadeObjects
from partunroll.reconstruction.two_stages import reconstruct
from partunroll.store.data_store import DataStore
from partunroll.training.patch_training import train
from partunroll.volumes.image_metrics import Comparison

NUM_COILS, ACCELERATIONS, NOISE = 12, (5, 10), 0.02
# proximal steps: gradient steps gained 1 dB where these gained 3
UNROLLED = {
    "network.iterations": 4,
    "network.cg_iterations": 4,
    "network.initial_step_size": 30.0,
}
TV_WEIGHTS = (1e-4, 3e-4, 1e-3, 3e-3)  # the best is chosen on the training volume


@dataclass(frozen=True)
class Row:
    """A trained method."""

    name: str
    coils: int | None  # virtual coils of the factors; None: all
    network: str = "unrolled"
    normal: str = "factors"
    whole_slices: bool = False


ROWS = (
    Row("post-processing", None, network="post_processing"),
    Row("unrolled, whole slices, exact", None, normal="restricted", whole_slices=True),
    Row("ours, exact", None, normal="restricted"),
    Row("ours, J = 1", 1),
    Row("ours, J = 2", 2),
    Row("ours, J = 4", 4),
    Row("ours, J = all", None),
)


class Study:
    """The data and factors that all rows share."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self.folder, self.arguments = folder, arguments
        self.specs = {}
        for acceleration in ACCELERATIONS:
            path = folder / f"r{acceleration}.yaml"
            path.write_text(yaml.safe_dump(self._document(acceleration)), encoding="utf-8")
            self.specs[path.stem] = load_spec(path)
        self.data, self.test = folder / "data.zarr", folder / "test.zarr"
        shared: dict[str, Any] = {"noise": RelativeNoise(NOISE)}
        trained = arguments.train or MadeObjects(16, 0, 0.06)
        tested = arguments.test or MadeObjects(2, 1, 0.06)
        simulate(self.specs, trained, self.data, **shared)
        simulate(self.specs, tested, self.test, split="test", **shared)

    def factors(self, coils: int | None) -> list[Path]:
        """Return the factor files with a number of virtual coils, one for each R."""
        paths = []
        for name, spec in self.specs.items():
            path = self.folder / f"{name}-{coils or 'all'}.zarr"
            if not path.exists():
                fit_to_file(spec, path, method="direct", terms=coils)
            paths.append(path)
        return paths

    def trained(self, row: Row, seed: int) -> dict[str, dict[str, float]]:
        """Train a row and return its PSNR by R and stage."""
        n = self.arguments.size
        side = n if row.whole_slices else min(24, n)
        patch = (4 if row.whole_slices else min(12, n), side, side)
        config = load_config(
            None,
            {
                "network.kind": row.network,
                "network.prior.dim": 2,
                **(UNROLLED if row.network == "unrolled" else {}),
                "normal": row.normal,
                "patch_shape": patch,
                "steps": self.arguments.steps,
                "learning_rate": 3e-3,
                "gradient_clip": None,
                "flips": True,
                "seed": seed,
            },
        )
        paths = self.factors(row.coils)
        run = self.folder / f"{ROWS.index(row)}-{seed}"
        train(config, paths, self.data, run)
        checkpoint = load_checkpoint(run / "best.pt")
        network = checkpoint.build_network(torch.device("cpu"))
        stages = 1 if row.network == "post_processing" else 2
        figures: dict[str, dict[str, float]] = {}
        for (name, spec), path in zip(self.specs.items(), paths, strict=True):
            file, operator = open_factors(path), spec.build()
            found: dict[str, list[float]] = {"stage 1": [], "stage 2": []}
            for y, x0, truth in self.samples(name):
                result = reconstruct(
                    network, operator, y, file.load(), file.norm.value, x0, stages=stages,
                    patch_shape=checkpoint.patch_shape, patch_normal=row.normal,
                    overlap=0 if row.whole_slices else None,
                )  # fmt: skip
                found["stage 1"].append(_psnr(result.stage1, truth))
                found["stage 2"].append(_psnr(result.final, truth))
            figures[name] = {stage: fmean(values) for stage, values in found.items()}
        return figures

    def untrained(self) -> dict[str, dict[str, float]]:
        """Return the PSNR of the methods without training, by R."""
        figures: dict[str, dict[str, float]] = {}
        for (name, spec), path in zip(self.specs.items(), self.factors(None), strict=True):
            operator, norm = spec.build(), open_factors(path).norm.value
            y, _, truth = next(iter(self.samples(name, self.data)))
            tried = {
                w: _psnr(total_variation(operator, y, norm, weight=w), truth) for w in TV_WEIGHTS
            }
            weight = max(tried, key=lambda w: tried[w])
            methods = {
                "zero-filled": lambda y, op=operator: zero_filled(op, y),
                "CG-SENSE": lambda y, op=operator, n=norm: cg_reconstruction(op, y, n).x,
                "TV": lambda y, op=operator, n=norm, w=weight: total_variation(op, y, n, weight=w),
            }
            for title, method in methods.items():
                values = [_psnr(method(y), truth) for y, _, truth in self.samples(name)]
                figures.setdefault(title, {})[name] = fmean(values)
            values = [_psnr(x0, truth) for _, x0, truth in self.samples(name)]
            figures.setdefault("initial estimate", {})[name] = fmean(values)
            figures.setdefault("TV weight", {})[name] = weight
        return figures

    def samples(self, operator: str, path: Path | None = None) -> list[tuple[torch.Tensor, ...]]:
        """Return y, x0 and the reference of the samples of an operator."""
        store = DataStore.open(path or self.test)
        arrays = ("measurements", "initial_estimate", "reference")
        return [
            tuple(torch.from_numpy(store.read(sample.id, array)) for array in arrays)
            for sample in store.samples
            if sample.operator == operator
        ]

    def _document(self, acceleration: int) -> dict[str, Any]:
        n = self.arguments.size
        return {
            "kind": "multicoil_mri", "volume_shape": [n, n, n], "num_coils": NUM_COILS,
            "readout_axis": 0, "hybrid": True, "mask": "poisson-disc",
            "acceleration": acceleration, "calibration": max(4, n // 8),
        }  # fmt: skip


def main() -> int:
    arguments = _parsed()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder), arguments)
        table: dict[str, Any] = {"untrained": study.untrained()}
        for title, figures in table["untrained"].items():
            print(f"{title:32}", figures, flush=True)
        trained: dict[str, list[dict[str, dict[str, float]]]] = {}
        for row in ROWS:
            trained[row.name] = [study.trained(row, seed) for seed in arguments.seeds]
            print(f"{row.name:32}", trained[row.name], flush=True)
    table["trained"] = trained
    table["seconds"] = time.perf_counter() - started
    write_json(arguments.output.with_suffix(".json"), table)
    ours, other = trained["ours, J = all"], trained["post-processing"]
    claims = []
    for acceleration in ACCELERATIONS:
        name = f"r{acceleration}"
        a, b = ([run[name]["stage 1"] for run in runs] for runs in (ours, other))
        spread = max(max(a) - min(a), max(b) - min(b))
        text = f"R = {acceleration}: ours {fmean(a):.2f} dB, post-processing {fmean(b):.2f} dB"
        claims.append(Claim(text, fmean(a) >= fmean(b) - spread))
    return conclude(claims)


def _psnr(x: torch.Tensor, truth: torch.Tensor) -> float:
    truth = truth.abs()
    return Comparison.with_reference(truth).psnr(x.abs(), truth)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--train", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--test", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--output", type=Path, default=RESULTS / "mri_table")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
