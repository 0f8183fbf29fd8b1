"""A second reader of factor files, from docs/factor-file.md alone: only numpy and zarr."""

import itertools
from typing import Any

import numpy as np
import zarr


def read(path):
    """Return boundary, kernels, u and v of a factor file; u and v may be None."""
    group: Any = zarr.open_group(str(path), mode="r")
    header = group.attrs.asdict()
    assert header["format"] == "normalfit-factors"
    assert header["version"].split(".")[0] == "1" or header["version"] == "0.1"
    h, u, v = (group[n][...] if n in header["arrays"] else None for n in ("kernel", "u", "v"))
    return header["boundary"], h, u, v


def apply(path, x):
    """Return ``Σ_k u_k ⊙ (h_k ∗ (v_k ⊙ x))`` in double precision, by padded FFTs."""
    boundary, h, u, v = read(path)
    ones = np.ones((1, *x.shape))
    u, v = (ones if image is None else image for image in (u, v))
    terms = max(len(h), len(u), len(v))
    sizes = [
        n if end == "periodic" else n + length // 2
        for n, length, end in zip(x.shape, h.shape[1:], boundary, strict=True)
    ]
    y = np.zeros(x.shape, complex)
    for k in range(terms):
        hk, uk, vk = (a[k if len(a) > 1 else 0].astype(complex) for a in (h, u, v))
        padded = np.zeros(sizes, complex)
        for index in itertools.product(*map(range, hk.shape)):
            lag = [i - length // 2 for i, length in zip(index, hk.shape, strict=True)]
            if all(abs(t) < n for t, n in zip(lag, sizes, strict=True)):
                padded[tuple(lag)] += hk[index]  # negative lags wrap around, as FFTs have them
        spectrum = np.fft.fftn(padded) * np.fft.fftn(vk * x, sizes, range(x.ndim))
        y += uk * np.fft.ifftn(spectrum)[tuple(slice(0, n) for n in x.shape)]
    return y
