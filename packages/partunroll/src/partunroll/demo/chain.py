"""run_demo: the whole chain on made objects: fit, simulate, train, reconstruct, compare."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from normalfit.devices import resolve_device
from normalfit.estimate import Estimate
from normalfit.factor_file import open_factors
from normalfit.fit_to_file import fit_to_file
from normalfit.specs import load_spec
from normalfit.written_beside import check_output
from partunroll.demo.demo_commands import TEST_SERIES, TRAIN_SERIES, demo_commands
from partunroll.demo.demo_report import METHOD_TITLES, DemoReport, compare
from partunroll.demo.demo_settings import QUICKS, STANDARDS
from partunroll.measurements.simulation import simulate
from partunroll.network.checkpoint import load_checkpoint
from partunroll.objects.object_sources import MadeObjects
from partunroll.reconstruction.two_stages import reconstruct
from partunroll.store.data_store import DataStore
from partunroll.training.patch_training import train
from partunroll.versions import versions
from partunroll.volumes.figures import plot_methods
from partunroll.volumes.image_metrics import magnitude

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.progress import Progress

    from normalfit.factor_file import FactorFile
    from normalfit.linear_operator import LinearOperator
    from partunroll.demo.demo_scans import Untrained
    from partunroll.demo.demo_settings import DemoSettings
    from partunroll.reconstruction.reconstruction_result import Reconstruction

NETWORKS = ("unrolled", "post_processing")


def run_demo(
    output: Path,
    *,
    modality: Literal["ct", "mri"] = "ct",
    device: str = "auto",
    quick: bool = False,
    seed: int = 0,
    settings: DemoSettings | None = None,
    progress: Progress | None = None,
) -> DemoReport:
    """Fit factors, train two networks, and compare methods on held-out objects.

    Parameters
    ----------
    output
        New folder; gets ``report.json``, ``report.png`` and everything in between.
    modality
        'ct' (cone beam) or 'mri' (Cartesian, several coils).
    device
        'auto', 'cpu' or 'cuda'.
    quick
        Tiny sizes that only check the plumbing.
    seed
        Of the training runs; objects, noise and probes are the same for every seed.
    settings
        Sizes other than the standard or the quick ones.
    progress
        Where to show bars.

    Raises
    ------
    InputError
        The folder exists, or there is no such device.
    """
    check_output(output)
    resolve_device(device)
    output.mkdir(parents=True)
    standard = (QUICKS if quick else STANDARDS)[modality]
    chain = _Chain(output, settings or standard, device, seed, progress)
    factors = chain.fit()
    chain.simulate()
    for network in NETWORKS:
        chain.train(network)
    untrained = chain.untrained(factors.norm.value)
    volumes, references = chain.reconstruct(untrained)
    report = DemoReport(
        compare(volumes, references),
        chain.seconds,
        _facts(chain, factors, untrained),
        demo_commands(chain.settings, output, device, seed, untrained),
    )
    titles = {METHOD_TITLES[name]: magnitude(found[0]) for name, found in volumes.items()}
    plot_methods(magnitude(references[0]), titles, output / "report.png")
    text = json.dumps(report.as_json(), indent=2)
    (output / "report.json").write_text(text + "\n", encoding="utf-8")
    return report


@dataclass
class _Chain:
    """The steps of the demo and what they share."""

    output: Path
    settings: DemoSettings
    device: str
    seed: int
    progress: Progress | None
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.yaml = self.output / "operator.yaml"
        self.yaml.write_text(self.settings.operator_yaml(), encoding="utf-8")
        self.spec = load_spec(self.yaml)
        self.factors = self.output / "factors.zarr"
        self.data, self.test = self.output / "data.zarr", self.output / "test.zarr"

    def fit(self) -> FactorFile:
        """Fit the factors."""
        with self._timed("fit"):
            fit_to_file(
                self.spec,
                self.factors,
                device=self.device,
                command="partunroll demo",
                progress=self.progress,
                **self.settings.scan.fit_options(self.settings.probes),
            )
        return open_factors(self.factors)

    def simulate(self) -> None:
        """Make the objects and their measurements."""
        noise, s = self.settings.scan.noise, self.settings
        trained = MadeObjects(s.train + s.validation, TRAIN_SERIES, s.smallest)
        held_out = MadeObjects(s.test, TEST_SERIES, s.smallest)
        specs = {self.yaml.stem: self.spec}
        shared: dict[str, Any] = {
            "noise": noise,
            "device": self.device,
            "progress": self.progress,
        }
        with self._timed("simulate"):
            simulate(specs, trained, self.data, validation=s.validation, **shared)
            simulate(specs, held_out, self.test, split="test", **shared)

    def train(self, kind: str) -> None:
        """Train one of the networks."""
        config = self.settings.train_config(kind, self.seed, self.device)
        with self._timed(f"train {kind}"):
            train(config, [self.factors], self.data, self.run(kind), progress=self.progress)

    def untrained(self, norm: float) -> Untrained:
        """Return the methods without training, set on the validation objects."""
        with self._timed("set the methods without training"):
            return self.settings.scan.untrained(self.operator, DataStore.open(self.data), norm)

    def reconstruct(
        self, untrained: Untrained
    ) -> tuple[dict[str, list[torch.Tensor]], list[torch.Tensor]]:
        """Return the reconstructions of the test objects by method, and their references."""
        store = DataStore.open(self.test)
        names = (*untrained.methods, "post_processing", "stage1", "stage2")
        volumes: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        references = []
        with self._timed("reconstruct"):
            for sample in store.samples:
                y = self._read(store, sample.id, "measurements")
                x0 = self._read(store, sample.id, "initial_estimate")
                unrolled = self._reconstruct("unrolled", y, x0)
                post_processed = self._reconstruct("post_processing", y, x0)
                for name, method in untrained.methods.items():
                    volumes[name].append(method(y).cpu())
                volumes["post_processing"].append(post_processed.final.cpu())
                volumes["stage1"].append(unrolled.stage1.cpu())
                volumes["stage2"].append(unrolled.final.cpu())
                references.append(torch.from_numpy(store.read(sample.id, "reference")))
        return volumes, references

    @property
    def operator(self) -> LinearOperator:
        """The operator of the demo."""
        return self.spec.build()

    def run(self, kind: str) -> Path:
        """Return the directory of a training run."""
        return self.output / "runs" / kind

    def _reconstruct(
        self, kind: str, y: torch.Tensor, x0: torch.Tensor
    ) -> Reconstruction[torch.Tensor]:
        file = open_factors(self.factors)
        checkpoint = load_checkpoint(self.run(kind) / "best.pt")
        return reconstruct(
            checkpoint.build_network(y.device),
            self.operator,
            y,
            file.load(y.device),
            file.norm.value,
            x0,
            patch_shape=checkpoint.patch_shape,
            stages=2 if kind == "unrolled" else 1,
            progress=self.progress,
        )

    def _read(self, store: DataStore, sample: str, array: str) -> torch.Tensor:
        return torch.from_numpy(store.read(sample, array)).to(resolve_device(self.device))

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[phase] = time.perf_counter() - started


def _facts(chain: _Chain, factors: FactorFile, untrained: Untrained) -> dict[str, Any]:
    s, report = chain.settings, factors.metadata.report
    operator, noise = s.scan.words(s.num_voxels)
    return {
        "operator_summary": operator,
        "noise_summary": noise,
        "untrained": untrained.note,
        "grid_error": report["grid_error"],
        "patch_error": report["patch_error"],
        "factors_summary": f"grid error {Estimate(**report['grid_error'])}, "
        f"patch error {Estimate(**report['patch_error'])}",
        "seed": chain.seed,
        "device": str(resolve_device(chain.device)),
        "threads": torch.get_num_threads(),
        "settings": asdict(s),
        "versions": versions(),
        "inverse_crime": False,
    }
