"""The fit needs fewer applications of A*A: least squares against Adam, the paper's method.

    uv run benchmarks/fit_needs_fewer_applications.py [--quick] [--square 128] [--cube 48]
        [--steps 4000] [--device cpu]

One term, linear boundary, for fan beam, cone beam and parallel beam. The claim, for each of
them: least squares reaches the error that Adam ends at after 4,000 applications of A*A, at the
best of three learning rates over two decades, with at most 40. All errors that are compared are
measured on the same 32 probes, which no fit has seen. The probes that guide a fit count as its
applications. If Adam's best learning rate is the lowest or the highest, the claim fails: there
might be a better one beyond.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import torch
from fit_problems import Problem, problems
from measurement import RESULTS, Claim, conclude, one_thread_processes, write_json

from normalfit.adam import AdamOptions, fit_adam
from normalfit.least_squares import fit_least_squares
from normalfit.model import Model
from normalfit.probe_set_error import probe_set_error
from normalfit.probes import ProbeSet, collect_responses, draw_probe
from normalfit.specs import spec_from_document

if TYPE_CHECKING:
    from normalfit.factors import Factors
    from normalfit.fitted import Fitted

mpl.use("Agg")
import matplotlib.pyplot as plt

MODEL = Model("diagonal-circulant", boundary="linear", terms=1)
TOTALS = (8, 16, 24, 32, 40, 64)  # applications of least squares, guiding probes included
MOST = 40
EVALUATION = 32
GUIDE = 8
CHECKED = 100  # every how many probes one is compared with that of the stored response


@dataclass(frozen=True)
class Run:
    """One fit: its error on probes that it has not seen, and what it took."""

    problem: str
    method: str
    learning_rate: float | None
    applications: int
    error: dict[str, Any]
    history: list[tuple[int, float]]  # applications and error on the guiding probes
    seconds: float


class StoredResponses:
    """``N`` on the training probes in their order, from responses that are known."""

    def __init__(self, problem: Problem, folder: Path, device: str) -> None:
        self.training, self._device = _load(problem, folder, "training"), device
        self._next = 0

    def __call__(self, w: torch.Tensor) -> torch.Tensor:
        """Return the response to the next probe, which `w` must be."""
        index, self._next = self._next, self._next + 1
        if index % CHECKED == 0:
            drawn = draw_probe(tuple(w.shape), seed=0, stream="training", index=index)
            assert torch.equal(w, drawn.to(w.device))
        return torch.from_numpy(np.array(self.training[index])).to(self._device)


def store_responses(problem: Problem, folder: Path, device: str) -> None:
    """Compute every response that any fit or evaluation of a problem uses, once."""
    operator = spec_from_document(problem.document, {}).build()
    for stream, count in _counts(problem).items():
        path = _path(problem, folder, stream)
        shape = (count, *problem.shape)
        kept = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        for first in range(0, count, problem.batch):
            indices = range(first, min(first + problem.batch, count))
            drawn = [draw_probe(problem.shape, seed=0, stream=stream, index=i) for i in indices]
            responses = operator.normal(torch.stack(drawn).to(device))
            kept[first : first + len(drawn)] = responses.cpu().numpy()
        kept.flush()


def run_adam(problem: Problem, folder: Path, learning_rate: float, device: str) -> Run:
    """Fit by Adam."""
    started = time.perf_counter()
    fitted = fit_adam(
        StoredResponses(problem, folder, device),
        _probe_set(problem, folder, "held-out", GUIDE, device),
        MODEL,
        steps=problem.steps,
        options=AdamOptions(learning_rate=learning_rate),
    )
    return _run(problem, folder, "Adam", learning_rate, problem.steps + GUIDE, fitted, started)


def run_least_squares(problem: Problem, folder: Path, total: int, device: str) -> Run:
    """Fit by least squares with `total` applications, a quarter and at most 8 to guide it."""
    started = time.perf_counter()
    guide = min(GUIDE, total // 4)
    fitted = fit_least_squares(
        _probe_set(problem, folder, "training", total - guide, device),
        _probe_set(problem, folder, "held-out", guide, device),
        MODEL,
    )
    return _run(problem, folder, "least squares", None, total, fitted, started)


def _run(
    problem: Problem,
    folder: Path,
    method: str,
    learning_rate: float | None,
    applications: int,
    fitted: Fitted,
    started: float,
) -> Run:
    seconds = time.perf_counter() - started
    history = [(p.applications + GUIDE, p.held_out_error) for p in fitted.history]
    error = _error(problem, folder, fitted.factors)
    return Run(problem.name, method, learning_rate, applications, error, history, seconds)


def _error(problem: Problem, folder: Path, factors: Factors) -> dict[str, Any]:
    device = str(factors.kernel.values.device)
    unseen = _probe_set(problem, folder, "fresh evaluation", EVALUATION, device)
    return probe_set_error(unseen, factors).as_json()


def _counts(problem: Problem) -> dict[Any, int]:
    training = max(problem.steps, max(TOTALS))
    return {"training": training, "held-out": GUIDE, "fresh evaluation": EVALUATION}


def _path(problem: Problem, folder: Path, stream: str) -> Path:
    return folder / f"{problem.name} {stream}.npy"


def _load(problem: Problem, folder: Path, stream: str) -> Any:
    return np.load(_path(problem, folder, stream), mmap_mode="r")


def _probe_set(problem: Problem, folder: Path, stream: Any, count: int, device: str) -> ProbeSet:
    stored = iter(_load(problem, folder, stream))
    return collect_responses(
        lambda _: torch.from_numpy(np.array(next(stored))).to(device),
        problem.shape,
        count,
        seed=0,
        stream=stream,
        device=device,
    )


def run_all(chosen: list[Problem], device: str) -> list[Run]:
    """Run all fits, one on each core at a time; the responses are computed first."""
    with tempfile.TemporaryDirectory() as name, one_thread_processes() as pool:
        folder = Path(name)
        for problem in chosen:
            started = time.perf_counter()
            store_responses(problem, folder, device)
            print(f"responses of {problem.name}: {time.perf_counter() - started:.0f} s", flush=True)
        longest = sorted(chosen, key=lambda problem: -math.prod(problem.shape))
        adam = [(run_adam, p, rate) for p in longest for rate in p.learning_rates]
        least = [(run_least_squares, p, n) for p in chosen for n in sorted(TOTALS, reverse=True)]
        jobs = [
            pool.submit(function, p, folder, value, device) for function, p, value in adam + least
        ]
        runs = []
        for job in jobs:
            runs.append(job.result())
            print(line(runs[-1]), flush=True)
    return runs


def line(run: Run) -> str:
    """Return one run as text."""
    e = run.error
    rate = "" if run.learning_rate is None else f" {run.learning_rate:g}"
    return (
        f"{run.problem:<20} {run.method + rate:<15} {run.applications:>5} applications  "
        f"error {e['value']:.4f} ({e['low']:.4f} to {e['high']:.4f})  {run.seconds:.0f} s"
    )


def claim(name: str, runs: list[Run]) -> Claim:
    """Return the claim about one operator."""
    adam = [run for run in runs if run.problem == name and run.learning_rate is not None]
    best = min(adam, key=_value)
    rates = [run.learning_rate for run in adam if run.learning_rate is not None]
    if best.learning_rate in (min(rates), max(rates)):
        return Claim(f"{name}: Adam's best rate {best.learning_rate:g} is at an end", holds=False)
    least = [run for run in runs if run.problem == name and run.learning_rate is None]
    least = sorted(least, key=lambda run: run.applications)
    enough = [run for run in least if _value(run) <= _value(best)]
    if enough:
        text = f"{name} {enough[0].applications} applications ({_value(enough[0]):.4f}) for Adam's"
        text = f"{text} {best.applications} ({_value(best):.4f})"
        return Claim(text, enough[0].applications <= MOST)
    worse = 100 * (_value(least[-1]) / _value(best) - 1)
    text = f"{name} {worse:.1f} % worse than Adam after {least[-1].applications} applications"
    return Claim(text, holds=False)


def _value(run: Run) -> float:
    return run.error["value"]


def plot(names: list[str], runs: list[Run], path: Path) -> None:
    """Draw error against applications, a panel for each operator."""
    figure, axes = plt.subplots(1, len(names), figsize=(13, 4.4), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        own = [run for run in runs if run.problem == name]
        adam = [run for run in own if run.learning_rate is not None]
        for color, run in zip(("C1", "C3", "C4"), adam, strict=True):
            label = f"Adam, learning rate {run.learning_rate:g}"
            axis.plot(*zip(*run.history, strict=True), color=color, lw=1.2, label=label)
            axis.plot(run.applications, _value(run), "s", color=color, ms=5)
        least = sorted((r for r in own if r.learning_rate is None), key=lambda r: r.applications)
        x, values = [r.applications for r in least], [_value(r) for r in least]
        below = [_value(r) - r.error["low"] for r in least]
        above = [r.error["high"] - _value(r) for r in least]
        axis.errorbar(x, values, [below, above], fmt="o-", color="C0", label="least squares")
        best = min(_value(r) for r in own if r.learning_rate is not None)
        axis.axhline(best, color="0.5", lw=0.8, ls="--")
        axis.axvline(MOST, color="0.5", lw=0.8, ls=":")
        axis.set(xscale="log", yscale="log", xlabel="applications of A*A", title=name)
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("relative error (markers: unseen probes)")
    axes[0].legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    """Run the benchmark and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="32², 12³ and 400 steps")
    parser.add_argument("--square", type=int, default=128, help="voxels along an axis of a plane")
    parser.add_argument("--cube", type=int, default=48, help="voxels along an axis of a volume")
    parser.add_argument("--steps", type=int, default=4000, help="of Adam, an application each")
    parser.add_argument("--device", default="cpu", help="where to compute: cpu or cuda")
    parser.add_argument("--output", type=Path, default=RESULTS / "fit_needs_fewer_applications")
    arguments = parser.parse_args()
    sizes = arguments.square, arguments.cube, arguments.steps
    chosen = problems(*((32, 12, 400) if arguments.quick else sizes))
    names = [problem.name for problem in chosen]
    runs = run_all(chosen, arguments.device)
    found = [claim(name, runs) for name in names]
    document = {"runs": [asdict(run) for run in runs], "claims": [asdict(c) for c in found]}
    write_json(arguments.output.with_suffix(".json"), document)
    plot(names, runs, arguments.output.with_suffix(".png"))
    return conclude(found)


if __name__ == "__main__":
    sys.exit(main())
