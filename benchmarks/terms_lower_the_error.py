"""More terms and a linear boundary lower the error of the paper's model, by how much, and why.

    uv run benchmarks/terms_lower_the_error.py [--size 16] [--dense-size 18] [--quick]
        [--dense-terms 2] [--probes 16 128] [--volumes a.npz b.npz]
        [--device cpu] [--claimed-only | --models "2 D C" local]

Two parts. *Dense truth*: the best factors of cone-beam operators that fit in memory as matrices,
by alternating least squares on every entry (no probes, no ridge): what a model can reach. *From
probes*: what `normalfit.fit` reaches with 16 to 256 of them, for cone and parallel beam and for
multi-coil MRI (Cartesian, and radial by mri-nufft where it is installed). Errors are relative
Frobenius errors on the grid and on patches of a half and a quarter of it, and relative errors on
smooth random volumes and on objects (made ones, or those of `--volumes`). The paper's model is
fitted to white probes, all others as `normalfit fit` does it, a quarter of them smooth.

Claims: two tied D C D terms reach at most 0.6 of the paper's optimum on the grid and 0.45 on
smooth volumes (dense, every number of views). From the 128 probes that `normalfit fit` takes by
default, the default model is the best on the grid, and at most 0.75 of the paper's model on smooth
volumes and objects; with every number of probes up to 256 it is never worse than one linear D C,
on the grid, on smooth volumes and on objects.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import torch
from dense_optima import DenseOperator, periodic_optimum, tied_optima
from measurement import RESULTS, Claim, conclude, one_thread_processes, write_json
from mri_operators import cartesian_mri, radial_mri
from unseen_errors import UnseenErrors
from volumes_to_see import made_objects, read_volumes

from normalfit.fitting import DEFAULT_PROBES, fit
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.model import Model
from normalfit.specs import spec_from_document

mpl.use("Agg")
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from normalfit.linear_operator import LinearOperator

PAPER_NAME = "periodic D C (paper)"
PAPER = Model("diagonal-circulant", "periodic", terms=1)
MODELS = {
    PAPER_NAME: PAPER,
    "D C": Model("diagonal-circulant", terms=1),
    "2 D C": Model("diagonal-circulant", terms=2),
    "D C D": Model(terms=1),
    "2 D C D": Model(terms=2),
    "3 D C D": Model(terms=3),
    "default": Model(),
    "local": Model("local"),
}
Rows = list[dict[str, Any]]
CLAIMED = (PAPER_NAME, "D C", "default")
DEFAULT = DEFAULT_PROBES["least-squares"]
MOST = 256  # applications of A*A within which the default is to be the best


def cone_beam(size: int, views: int) -> LinearOperator:
    """Return a cone beam whose detector sees the inscribed ball, but not the corners."""
    columns = size + size // 2
    document = {
        "kind": "cone_beam", "volume_shape": [size] * 3, "voxel_mm": 1.0,
        "detector_shape": [columns, columns], "pixel_mm": 2.0, "num_views": views,
        "source_origin_mm": 1.5 * size, "origin_detector_mm": 3.0 * size,
    }  # fmt: skip
    return spec_from_document(document, {}).build()


def parallel_beam(size: int) -> LinearOperator:
    """Return a 2-D parallel beam with 40 views."""
    document = {
        "kind": "parallel_beam", "volume_shape": [size] * 2, "voxel_mm": 1.0, "num_views": 40,
        "num_columns": size + size // 2, "pixel_mm": 1.0, "angle_range_deg": 180.0,
    }  # fmt: skip
    return spec_from_document(document, {}).build()


@dataclass(frozen=True)
class Job:
    """What one process does at a time: the optima of an operator, or all fits of a model."""

    operator: str  # with its size, a key of `build`
    size: int
    model: str
    definition: Model
    probes: tuple[int, ...]
    objects: torch.Tensor | None = None
    device: str = "cpu"


def dense_rows(size: int, views: int, terms: int, sweeps: int) -> list[dict[str, Any]]:
    """Return the optima of the paper's model and of one to `terms` tied D C D terms."""
    dense = DenseOperator(cone_beam(size, views))
    paper = dense.errors(periodic_optimum(dense))
    rows = [{"views": views, "model": PAPER_NAME, **paper}]
    for number, matrix in tied_optima(dense, terms, sweeps):
        rows.append({"views": views, "model": f"{number} D C D", **dense.errors(matrix)})
    return rows


def build(name: str, size: int) -> LinearOperator | None:
    """Return an operator; None for radial MRI where mri-nufft is not installed."""
    if name == "cone beam":
        return cone_beam(size, 30)
    if name == "parallel beam":
        return parallel_beam(size)
    return cartesian_mri(size) if name == "Cartesian MRI" else radial_mri(size)


@torch.no_grad()
def probed_rows(job: Job) -> list[dict[str, Any]]:
    """Return the errors of fits of a model from several numbers of probes."""
    operator, rows = build(job.operator, job.size), []
    if operator is None:
        return []
    measured = UnseenErrors(operator, job.objects, job.device)
    how: dict[str, Any] = {"evaluation": 2, "device": job.device}
    if job.model == PAPER_NAME:
        how["options"] = LeastSquaresOptions(smooth_probes=0)  # white probes, as in the paper
    for count in job.probes:
        result = fit(operator, model=job.definition, probes=count, **how)
        rows.append({
            "operator": job.operator, "model": job.model, "probes": count,
            "terms": result.factors.terms, "seconds": result.report.seconds,
            **measured.of(result.factors),
        })  # fmt: skip
    return rows


def other_jobs(size: int, counts: tuple[int, ...], device: str) -> list[Job]:
    """Return parallel beam and MRI, in 2-D."""
    jobs = [Job("parallel beam", size, name, model, counts) for name, model in MODELS.items()]
    for name, boundary in (("Cartesian MRI", "periodic"), ("radial MRI", "linear")):
        models = {PAPER_NAME: PAPER, "default": Model(boundary=boundary)}
        models |= {f"{j} virtual coils": Model("multicoil", boundary, terms=j) for j in (1, 2, 4)}
        jobs += [Job(name, size, key, model, counts) for key, model in models.items()]
    return [replace(job, device=device) for job in jobs]


def run_all(dense: list[tuple[int, int, int, int]], jobs: list[Job]) -> tuple[Rows, Rows]:
    """Run everything in the order given, one process of one thread on each core."""
    with one_thread_processes() as pool:
        optima = [pool.submit(dense_rows, *arguments) for arguments in dense]
        fits = [pool.submit(probed_rows, job) for job in jobs]
        for done in (*optima, *fits):
            print(table(done.result()), flush=True)
    found = [[row for done in part for row in done.result()] for part in (optima, fits)]
    return found[0], found[1]


def claims(dense: list[dict[str, Any]], probed: list[dict[str, Any]]) -> list[Claim]:
    """Return what is claimed, with its figures, and whether it holds."""
    found = []
    for views in sorted({row["views"] for row in dense}):
        by_model = {row["model"]: row for row in dense if row["views"] == views}
        paper, two = by_model[PAPER_NAME], by_model["2 D C D"]
        for key, limit in (("grid", 0.6), ("smooth", 0.45)):
            ratio = two[key] / paper[key]
            text = f"2 D C D / paper, {key}, {views} views: {ratio:.2f} <= {limit}"
            found.append(Claim(text, ratio <= limit))
    return found + claims_from_probes([r for r in probed if r["operator"] == "cone beam"])


def claims_from_probes(rows: list[dict[str, Any]]) -> list[Claim]:
    """Return what is claimed about the default; nothing where other models were asked for."""
    if not {row["model"] for row in rows} >= set(CLAIMED):
        return []
    found = []
    by_default = {row["model"]: row for row in rows if row["probes"] == DEFAULT}
    if not by_default:
        found.append(Claim(f"{DEFAULT} probes were not measured", holds=False))
    else:
        default = by_default["default"]
        for key in ("smooth", "objects"):
            ratio = default[key] / by_default[PAPER_NAME][key]
            text = f"default / paper, {key}, {DEFAULT} probes: {ratio:.2f} <= 0.75"
            found.append(Claim(text, ratio <= 0.75))
        ratio = default["grid"] / min(row["grid"] for row in by_default.values())
        text = f"default / best model, grid, {DEFAULT} probes: {ratio:.3f} <= 1.02"
        found.append(Claim(text, ratio <= 1.02))
    for row in rows:
        if row["model"] != "default" or row["probes"] > MOST:
            continue
        (single,) = [r for r in rows if r["model"] == "D C" and r["probes"] == row["probes"]]
        for key in ("grid", "smooth", "objects"):
            ratio = row[key] / single[key]
            text = f"default / D C, {key}, {row['probes']} probes: {ratio:.2f} <= 1.01"
            found.append(Claim(text, ratio <= 1.01))
    return found


def plot(dense: list[dict[str, Any]], probed: list[dict[str, Any]], path: Path) -> None:
    """Draw the optima by number of terms, and the errors by number of probes."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for views in sorted({row["views"] for row in dense}):
        rows = [row for row in dense if row["views"] == views]
        labels = [row["model"] for row in rows]
        axes[0].plot(labels, [row["grid"] for row in rows], "o-", label=f"{views} views, grid")
        smooth = [row["smooth"] for row in rows]
        axes[0].plot(labels, smooth, "s--", label=f"{views} views, smooth")
    axes[0].set_title("dense truth: the best factors there are")
    axes[0].set_ylabel("relative error")
    cone = [row for row in probed if row["operator"] == "cone beam"]
    for name in dict.fromkeys(row["model"] for row in cone):
        rows = [row for row in cone if row["model"] == name]
        axes[1].loglog([r["probes"] for r in rows], [r["grid"] for r in rows], "o-", label=name)
    axes[1].set_title("cone beam, from probes: error on the grid")
    axes[1].set_xlabel("probes")
    for axis in axes:
        axis.set_ylim(bottom=None if axis is axes[1] else 0)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=7, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as text."""
    lines = []
    for row in rows:
        cells = [f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()]
        lines.append("  ".join(cells))
    return "\n".join(lines)


@torch.no_grad()
def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=16, help="voxels along each axis, from probes")
    parser.add_argument("--dense-size", type=int, default=18, help="the same of the dense truth")
    parser.add_argument("--dense-terms", type=int, default=2, help="terms of the dense truth")
    parser.add_argument("--probes", type=int, nargs="+", default=[16, DEFAULT])
    parser.add_argument("--device", default="cpu", help="of the fits from probes: cpu or cuda")
    parser.add_argument(
        "--claimed-only",
        action="store_true",
        help="only cone beam from probes, and only the models that are claimed about",
    )
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, help="only cone beam from probes, and these models"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--volumes", type=Path, nargs="*", default=[], help="objects to use")
    parser.add_argument("--output", type=Path, default=RESULTS / "terms_lower_the_error")
    arguments = parser.parse_args()
    size, dense_size, views, sweeps = arguments.size, arguments.dense_size, (30, 60, 100), 8
    counts: tuple[int, ...] = tuple(arguments.probes)
    if arguments.quick:
        size, dense_size, views, sweeps, counts = 8, 8, (30,), 3, (4, DEFAULT)
    names = CLAIMED if arguments.claimed_only else arguments.models
    models = {name: MODELS[name] for name in names or MODELS}
    objects = made_objects((size,) * 3)
    if arguments.volumes:
        objects = read_volumes(arguments.volumes, cone_beam(size, 30).domain)
    on = objects, arguments.device
    jobs = [Job("cone beam", size, name, model, counts, *on) for name, model in models.items()]
    jobs = sorted(jobs, key=lambda job: -(job.definition.terms or 9))  # the longest first
    if not names:
        jobs += other_jobs(2 * size, (64,), arguments.device)
    shown = () if names else views
    dense, probed = run_all(
        [(dense_size, count, arguments.dense_terms, sweeps) for count in shown], jobs
    )
    write_json(arguments.output.with_suffix(".json"), {"dense": dense, "probed": probed})
    plot(dense, probed, arguments.output.with_suffix(".png"))
    found = claims(dense, probed)
    if arguments.models and not found:
        print(f"no claim: it compares {', '.join(CLAIMED)}, and not all of them were run")
        return
    sys.exit(conclude(found))


if __name__ == "__main__":
    main()
