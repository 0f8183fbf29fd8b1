"""Make the golden files of the version that normalfit writes now: once, never again.

It refuses a version that is there. Beside every file lies a probe and its response in double
precision, which a loop over lags computes here, without any code of normalfit.
"""

import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml

from normalfit.factor_file import FactorMetadata, open_factors, save_factors
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.specs import load_spec
from normalfit.spectral_norm import SpectralNorm

FOLDER = Path(__file__).parent
P, L = "periodic", "linear"
# name: shape, boundary, lags, dtype, terms of kernel, u and v (0: absent)
CASES = {
    "periodic": ((4, 5), (P, P), (4, 5), "float32", (1, 1, 0)),
    "linear": ((5, 4, 3), (L, L, L), (9, 7, 5), "float64", (1, 1, 0)),
    "two_sided": ((4, 3, 5), (L, L, L), (7, 5, 9), "float32", (2, 2, 2)),
    "multicoil": ((4, 6), (P, P), (4, 6), "complex64", (1, 3, 3)),
    "local": ((9, 8), (L, L), (5, 3), "float32", (3, 3, 1)),
    "hybrid": ((3, 4, 5), (L, P, P), (1, 4, 5), "complex128", (2, 2, 0)),
    "kernel_only": ((7,), (P,), (3,), "float64", (1, 0, 0)),
    "many_chunks": ((70, 66), (L, P), (3, 5), "float32", (1, 1, 0)),
}


def response(factors, x):
    """Return ``Σ_k u_k(n) Σ_τ h_k(τ) v_k(n − τ) x(n − τ)``, lag by lag."""
    h = factors.kernel.values.numpy()
    shape, lags, boundary = factors.shape, h.shape[1:], factors.boundary
    ones = np.ones((1, *shape))
    u = ones if factors.u is None else factors.u.numpy()
    v = ones if factors.v is None else factors.v.numpy()
    y = np.zeros(shape, complex)
    for k in range(max(len(h), len(u), len(v))):
        hk, uk, vk = (a[k if len(a) > 1 else 0].astype(complex) for a in (h, u, v))
        for index in itertools.product(*map(range, lags)):
            tau = [i - length // 2 for i, length in zip(index, lags, strict=True)]
            shifted = np.roll(vk * x, tau, tuple(range(len(shape))))
            for axis, (t, n, end) in enumerate(zip(tau, shape, boundary, strict=True)):
                if end == L:  # what came around the end is not there
                    seen = np.moveaxis(shifted, axis, 0)
                    seen[: max(t, 0)] = 0
                    seen[n + min(t, 0) :] = 0
            y += uk * hk[index] * shifted
    return y if np.iscomplexobj(h) else y.real


def metadata(name, spec):
    return FactorMetadata(
        spec=spec,
        fingerprint=f"golden-{name}" if spec is None else spec.fingerprint,
        norm=SpectralNorm(value=2.5, converged=True, iterations=12),
        adjointness=1e-8,
        report={"model": name, "method": "none: random values", "seed": 0},
        command="make_golden.py",
    )


def write(folder, name):
    shape, boundary, lags, dtype, terms = CASES[name]
    generator = np.random.default_rng(sum(map(ord, name)))

    def draw(*size):
        values = generator.standard_normal(size)
        if dtype.startswith("complex"):
            values = values + 1j * generator.standard_normal(size)
        return values

    parts = [
        torch.from_numpy(draw(count, *(lags if i == 0 else shape)).astype(dtype)) if count else None
        for i, count in enumerate(terms)
    ]
    factors = Factors(LagKernel(parts[0], shape, boundary), parts[1], parts[2])
    x = draw(*shape)
    save_factors(folder / f"{name}.zarr", factors, metadata(name, spec_of(name, shape)))
    np.savez_compressed(folder / f"{name}.npz", probe=x, response=response(factors, x))
    found = open_factors(folder / f"{name}.zarr").load()
    assert found.shape == shape


def spec_of(name, shape):
    """Return an operator for the files that hold one: with a file of its own, and without."""
    if name not in ("periodic", "many_chunks"):
        return None
    with tempfile.TemporaryDirectory() as where:
        document: dict[str, object] = {"kind": "inpainting", "volume_shape": list(shape)}
        document["mask_file"] = "mask.npy"
        if name == "periodic":
            document = {"kind": "deconvolution", "volume_shape": [4, 5], "gaussian_std_voxels": 1.0}
        np.save(Path(where) / "mask.npy", np.random.default_rng(1).random(shape) < 0.5)
        (Path(where) / "op.yaml").write_text(yaml.safe_dump(document))
        spec = load_spec(Path(where) / "op.yaml")
        _ = spec.arrays
        return spec


if __name__ == "__main__":
    from normalfit.factor_file.header import VERSION

    target = FOLDER / VERSION
    if target.exists():
        sys.exit(f"error: golden files are never made again, got version {VERSION}")
    target.mkdir()
    for case in CASES:
        write(target, case)
    sys.stdout.write(f"{target}\n")
