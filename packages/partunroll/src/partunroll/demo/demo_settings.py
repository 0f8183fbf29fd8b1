"""DemoSettings: the sizes of the demo, and the scan it is about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import yaml

from partunroll.configuration.train_config import TrainConfig, load_config
from partunroll.demo.demo_scans import ConeBeamScan, MRIScan, Scan


@dataclass(frozen=True)
class DemoSettings:
    """How large the demo is; every value is our choice for two CPU cores.

    Parameters
    ----------
    num_voxels
        Voxels along each axis of the cube.
    scan
        What the objects are scanned with.
    train, validation, test
        Made objects of each split; the test objects are a series of their own.
    smallest
        As for `made_object`: the grid could not show finer parts.
    probes
        Applications of A*A that the factors are fitted to; MRI needs none.
    steps, learning_rate, batch, patch, iterations, step_size, cg_iterations
        As in `TrainConfig`; the post-processing network gets the same steps.
    validate_every
        Steps between validations.
    """

    num_voxels: int
    scan: Scan
    train: int
    validation: int
    test: int
    smallest: float
    probes: int
    steps: int
    learning_rate: float
    batch: int
    patch: int
    iterations: int
    step_size: float
    validate_every: int
    cg_iterations: int = 0

    def operator_yaml(self) -> str:
        """Return the operator."""
        return yaml.safe_dump(self.scan.operator_document(self.num_voxels), sort_keys=False)

    def train_config(self, kind: str, seed: int, device: str) -> TrainConfig:
        """Return the training configuration of the network of a `kind`."""
        unrolled = {
            "iterations": self.iterations,
            "initial_step_size": self.step_size,
            "cg_iterations": self.cg_iterations,
        }
        return load_config(
            None,
            {
                "network": {"kind": kind, **(unrolled if kind == "unrolled" else {})},
                "patch_shape": self.patch,
                "batch": self.batch,
                "steps": self.steps,
                "learning_rate": self.learning_rate,
                "seed": seed,
                "device": device,
                "validation.every": self.validate_every,
                "validation.stages": 2 if kind == "unrolled" else 1,
            },
        )


STANDARD = DemoSettings(
    num_voxels=48,
    scan=ConeBeamScan(num_views=24, photons=2e4),
    train=48,
    validation=3,
    test=4,
    smallest=0.06,
    probes=16,
    steps=800,
    learning_rate=2e-3,
    batch=2,
    patch=32,
    iterations=3,
    step_size=1.8,
    validate_every=400,
)

QUICK = DemoSettings(
    num_voxels=32,
    scan=ConeBeamScan(num_views=20, photons=2e4),
    train=3,
    validation=1,
    test=1,
    smallest=0.1,
    probes=8,
    steps=10,
    learning_rate=2e-3,
    batch=1,
    patch=16,
    iterations=2,
    step_size=1.8,
    validate_every=10,
)

# a step costs an FFT pair per coil and application of B: eight coils took 14 min at R = 5
_MRI = MRIScan(num_coils=4, acceleration=4, calibration=8, relative_noise=0.02)

# CT and MRI; the quick ones only check the plumbing
_PROXIMAL: dict[str, Any] = {"scan": _MRI, "step_size": 20.0, "cg_iterations": 3}
STANDARDS = {
    "ct": STANDARD,
    "mri": replace(
        STANDARD, **_PROXIMAL, num_voxels=32, patch=24, steps=300, validate_every=150, smallest=0.1
    ),
}
QUICKS = {"ct": QUICK, "mri": replace(QUICK, **_PROXIMAL)}
