"""filter_rows: the ramp filter of filtered backprojection, with its windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.fft import next_fast_len

from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # of the frequency / cutoff, 0 … 1
    "ramp": np.ones_like,
    "shepp-logan": lambda f: np.sinc(0.5 * f),
    "cosine": lambda f: np.cos(0.5 * np.pi * f),
    "hamming": lambda f: 0.54 + 0.46 * np.cos(np.pi * f),
    "hann": lambda f: 0.5 + 0.5 * np.cos(np.pi * f),
}


def filter_rows(
    projections: torch.Tensor, spacing_mm: float, window: str = "ramp", cutoff: float = 1.0
) -> torch.Tensor:
    """Convolve the last axis with the windowed ramp; zeros are assumed outside.

    Parameters
    ----------
    projections
        ``(..., columns)``, real.
    spacing_mm
        Distance of the columns.
    window
        One of `WINDOWS`, by which the ramp is multiplied.
    cutoff
        Frequency where the window ends, in units of the Nyquist frequency, in (0, 1].

    Raises
    ------
    InputError
        The window is unknown or the cutoff outside its interval.
    """
    num_columns = projections.shape[-1]
    padded = next_fast_len(2 * num_columns - 1, real=True)
    response = ramp_response(padded, window, cutoff) / spacing_mm
    transfer = torch.as_tensor(response, dtype=projections.dtype, device=projections.device)
    spectrum = torch.fft.rfft(projections, n=padded) * transfer
    return torch.fft.irfft(spectrum, n=padded)[..., :num_columns]


def check_window(window: str, cutoff: float = 1.0) -> None:
    """Refuse a window that does not exist, and a cutoff outside its interval.

    Raises
    ------
    InputError
        The window is unknown or the cutoff not in (0, 1].
    """
    if window not in WINDOWS or not 0.0 < cutoff <= 1.0:
        msg = (
            f"window must be one of {', '.join(WINDOWS)} and cutoff in (0, 1], "
            f"got {window!r} and {cutoff}"
        )
        raise InputError(msg)


def ramp_response(num_samples: int, window: str, cutoff: float) -> np.ndarray:
    """Return the response of a windowed ramp on a grid of spacing one, at rfft's frequencies.

    The ramp is the transform of its band-limited kernel (Kak & Slaney, Principles of
    Computerized Tomographic Imaging, eq. 3.61), not ``|f|`` sampled: only so is the mean of an
    object right.

    Raises
    ------
    InputError
        The window is unknown or the cutoff outside its interval.
    """
    check_window(window, cutoff)
    lags = np.fft.fftfreq(num_samples, 1.0 / num_samples).round().astype(np.int64)
    odd = lags % 2 != 0
    kernel = np.zeros(num_samples)
    kernel[odd] = -1.0 / (np.pi * lags[odd]) ** 2
    kernel[0] = 0.25
    frequencies = 2.0 * np.fft.rfftfreq(num_samples) / cutoff
    shape = WINDOWS[window](np.minimum(frequencies, 1.0))
    return np.fft.rfft(kernel).real * shape * (frequencies <= 1.0)
