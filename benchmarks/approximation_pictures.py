"""What the factors look like, and what they do: the paper's figures 9 and 10.

    uv run benchmarks/approximation_pictures.py [--size 32] [--probes 64] [--quick]
        [--volume ct.npz] [--mri-volume head.npz]

For cone beam (40 views) and for multi-coil MRI (8 coils, a Poisson disc of R = 5) one picture
each, of the three middle slices: a volume x, the exact A*A x, B x and B x - A*A x for the paper's
model (one periodic D C, eq. 16) and for the default of `normalfit fit`; below them the spectrum
(the circulant factor: |FFT of the kernel|, in log scale) and the modulation (the diagonal factor)
of the paper's term and of the first two of ours. Of complex images the magnitude is shown. The
objects are made ones; --volume and --mri-volume take real ones.

Claims: the Frobenius error that the picture states (32 Gaussian probes of its own) is the one
that `normalfit evaluate` gives of the stored file, within both intervals; and ours is below the
paper's, both in this error and on the volume that is shown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from approximation_figure import Seen, draw
from measurement import RESULTS, Claim, conclude, write_json

from normalfit.factor_evaluation import evaluate_file
from normalfit.fit_to_file import fit_to_file
from normalfit.model import Model
from normalfit.specs import spec_from_document
from partunroll.objects.made_objects import made_object
from partunroll.volumes.array_file import read_array
from partunroll.volumes.resampling import resample, scale_to_unit
from partunroll.volumes.volume_file import VOLUME_KEYS

if TYPE_CHECKING:
    from normalfit.factors import Factors
    from normalfit.grid import Grid
    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec

MODELS = {"paper": Model("diagonal-circulant", "periodic", terms=1), "ours": None}
CONE, MRI = "cone-beam", "multi-coil-MRI"
TITLES = {CONE: "Cone beam", MRI: "Multi-coil MRI"}
OWN_PROBES, OWN_SEED = 32, 20_261


@dataclass(frozen=True, eq=False)
class Approximation:
    """Factors of one model, and how far they are from A*A."""

    factors: Factors
    shown: float  # Frobenius error, by this script's own probes
    half_width: float  # of its 95 % interval
    evaluated: dict[str, Any]  # what `normalfit evaluate` says
    on_volume: float
    image: torch.Tensor  # B x


def documents(size: int) -> dict[str, dict[str, Any]]:
    """Return the operators by name."""
    return {
        CONE: {
            "kind": "cone_beam", "volume_shape": [size] * 3, "voxel_mm": 1.0,
            "detector_shape": [size + size // 2] * 2, "pixel_mm": 1.5, "num_views": 40,
            "source_origin_mm": 4.0 * size, "origin_detector_mm": 2.0 * size,
        },
        MRI: {
            "kind": "multicoil_mri", "volume_shape": [size] * 3, "num_coils": 8,
            "readout_axis": 0, "mask": "poisson-disc", "acceleration": 5,
            "calibration": max(4, size // 4),
        },
    }  # fmt: skip


def volume_of(path: Path | None, grid: Grid) -> torch.Tensor:
    """Return a volume on the grid of an operator, of values from 0 to 1."""
    if path is None:
        return torch.from_numpy(made_object(grid.shape, 3))
    stored = read_array(path, VOLUME_KEYS)
    sides = stored.attributes.get("voxel_mm")
    voxel_mm = None if sides is None else tuple(float(side) for side in sides)
    return torch.from_numpy(scale_to_unit(resample(stored.values, voxel_mm, grid)))


def error_of(operator: LinearOperator, factors: Factors) -> tuple[float, float]:
    """Return ‖B - N‖ / ‖N‖ in the Frobenius norm, and the half width of its 95 % interval.

    Written without normalfit's estimators, which it is compared with: a ratio of means over
    Gaussian probes, its variance by the delta method.
    """
    generator = torch.Generator().manual_seed(OWN_SEED)
    pairs = []
    for _ in range(OWN_PROBES):
        w = torch.randn(operator.domain.shape, generator=generator, dtype=operator.probe_dtype)
        exact = operator.adjoint(operator.forward(w))
        pairs.append([float(e.abs().double().square().sum()) for e in (factors(w) - exact, exact)])
    errors, totals = np.array(pairs).T
    ratio = errors.mean() / totals.mean()
    spread = np.std(errors - ratio * totals, ddof=1) / np.sqrt(OWN_PROBES) / totals.mean()
    return float(np.sqrt(ratio)), float(1.96 * spread / (2 * np.sqrt(ratio)))


def approximation(
    spec: OperatorSpec, model: Model | None, probes: int, x: torch.Tensor, exact: torch.Tensor
) -> Approximation:
    """Fit a model, store it, and compare what it does."""
    operator = spec.build()
    with tempfile.TemporaryDirectory() as folder:
        file = fit_to_file(spec, Path(folder) / "factors.zarr", model=model, probes=probes)
        evaluation = evaluate_file(file, spec)
        factors = file.load()
    shown, half_width = error_of(operator, factors)
    image = factors(x)
    on_volume = float((image - exact).norm() / exact.norm())
    evaluated = evaluation.grid_error.as_json()
    return Approximation(factors, shown, half_width, evaluated, on_volume, image)


def _title(name: str, x: torch.Tensor, found: dict[str, Approximation]) -> str:
    size = " × ".join(map(str, x.shape))
    errors = ", ".join(
        f"{words} {found[key].shown:.4f} ± {found[key].half_width:.4f}"
        for key, words in (("paper", "paper's model"), ("ours", "ours"))
    )
    return f"{TITLES[name]}, {size}; relative Frobenius error of A*A: {errors}"


def claims_of(name: str, found: dict[str, Approximation]) -> list[Claim]:
    """Return what must hold of the figures of one operator."""
    claims = []
    for key, one in found.items():
        other = one.evaluated
        allowed = one.half_width + (other["high"] - other["low"]) / 2
        text = f"{name}, {key}: {one.shown:.4f} shown, {other['value']:.4f} by normalfit evaluate"
        within = f"{text} (within {allowed:.4f})"
        claims.append(Claim(within, abs(one.shown - other["value"]) <= allowed))
    paper, ours = found["paper"], found["ours"]
    text = f"{name}: ours {ours.shown:.3f} below the paper's {paper.shown:.3f}"
    claims.append(Claim(text, ours.shown < paper.shown))
    text = f"{name}, on the volume: {ours.on_volume:.3f} below {paper.on_volume:.3f}"
    return [*claims, Claim(text, ours.on_volume < paper.on_volume)]


def main() -> int:
    arguments = _parsed()
    results, claims = {}, []
    volumes = {CONE: arguments.volume, MRI: arguments.mri_volume}
    for name in arguments.operators:
        spec = spec_from_document(documents(arguments.size)[name], {})
        operator = spec.build()
        x = volume_of(volumes[name], operator.domain).to(operator.probe_dtype)
        exact = operator.adjoint(operator.forward(x))
        found = {
            key: approximation(spec, model, arguments.probes, x, exact)
            for key, model in MODELS.items()
        }
        file = arguments.output.with_name(f"{arguments.output.name}_{spec.kind}.png")
        seen = {key: Seen(one.factors, one.image, one.on_volume) for key, one in found.items()}
        draw(_title(name, x, found), x, exact, seen["paper"], seen["ours"], file)
        results[name] = {
            key: {
                "terms": one.factors.terms,
                "shown": one.shown,
                "half_width": one.half_width,
                "evaluated": one.evaluated,
                "on_volume": one.on_volume,
            }
            for key, one in found.items()
        }
        for key, row in results[name].items():
            print(
                f"{name:<14} {key:<6} {row['terms']} terms, error {row['shown']:.4f} ± "
                f"{row['half_width']:.4f}, on the volume {row['on_volume']:.4f}",
                flush=True,
            )
        claims += claims_of(name, found)
    settings = {k: str(v) for k, v in vars(arguments).items()}
    write_json(arguments.output.with_suffix(".json"), {"settings": settings, "rows": results})
    return conclude(claims)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=32, help="voxels along each axis")
    parser.add_argument("--probes", type=int, default=64, help="of each fit")
    parser.add_argument("--volume", type=Path, metavar="FILE", help="seen by the cone beam")
    parser.add_argument("--mri-volume", type=Path, metavar="FILE", help="a magnitude, seen by MRI")
    parser.add_argument("--operators", nargs="+", choices=(CONE, MRI), default=[CONE, MRI])
    parser.add_argument("--quick", action="store_true", help="16³ and 24 probes")
    parser.add_argument("--output", type=Path, default=RESULTS / "approximation_pictures")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.size, arguments.probes = 16, 24
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
