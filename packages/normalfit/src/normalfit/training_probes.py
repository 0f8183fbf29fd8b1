"""Probes that a fit learns from: white ones, and smooth ones as strong as volumes are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from normalfit.energy import energy
from normalfit.probes import ProbeSet, collect_responses, draw_probe
from normalfit.response_folder import LazyTensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.probes import Stream

_SEEN = 1e-8  # of the white probes' energy


def training_set(
    normal: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    count: int,
    *,
    smooth: float,
    **how: Any,  # noqa: ANN401 - of `collect_responses`
) -> ProbeSet:
    """Draw `count` probes, a share `smooth` of them smooth, and apply ``N`` to each.

    White probes weigh all frequencies alike, and the lowest ones, where volumes and the response
    of a tomograph have most of their energy, are few: what a fit learns of them rests on little.
    Every smooth probe is scaled so that its response has the mean energy of the white ones'. Cone
    beam 48³, 30 views, 128 probes, a quarter of them smooth instead of none: on five real volumes
    the error of two D C D falls from 0.14 to 0.081, that of one D C from 0.148 to 0.132; on the
    grid they are 0.441 (0.446 and 0.437 with 64 and 512 white ones) and 0.502 (0.502).

    The first probes of a set are those of a smaller one: what a folder keeps is used again.

    Parameters
    ----------
    smooth
        From 0 to below 1.
    **how
        As for `collect_responses`.

    Raises
    ------
    InputError, MismatchError
        As `collect_responses`.
    """
    places = [math.floor((i + 1) * smooth) > math.floor(i * smooth) for i in range(count)]
    white = collect_responses(normal, shape, places.count(False), stream="training", **how)
    if not any(places):
        return white
    some = places.count(True)
    stream: Stream = "smooth training"
    smoothed = collect_responses(normal, shape, some, stream=stream, draw=draw_smooth_probe, **how)
    strength = [energy(response) for response in smoothed.responses]
    wanted = white.response_energy * math.prod(shape)
    # an operator may see nothing of a smooth volume but rounding
    scales = [math.sqrt(wanted / own) if own > _SEEN * wanted else 1.0 for own in strength]

    def made(index: int, name: str) -> torch.Tensor:
        is_smooth = places[index]
        number = places[:index].count(is_smooth)
        found: torch.Tensor = getattr(smoothed if is_smooth else white, name)[number]
        return found * scales[number] if is_smooth else found

    if isinstance(white.probes, LazyTensors):
        return ProbeSet(
            LazyTensors(lambda index: made(index, "probes"), count, shape),
            LazyTensors(lambda index: made(index, "responses"), count, shape),
        )
    return ProbeSet(*([made(i, name) for i in range(count)] for name in ("probes", "responses")))


def draw_smooth_probe(
    shape: tuple[int, ...],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    **how: Any,  # noqa: ANN401 - seed, stream and index of `draw_probe`
) -> torch.Tensor:
    """Return a Gaussian volume whose amplitude falls as one over the frequency, as of images.

    It is `draw_probe` filtered, of mean square near one. The mean has half the lowest frequency
    of the longest axis (images: Field, J. Opt. Soc. Am. A 4(12), 1987).
    """
    w = draw_probe(shape, dtype=torch.complex64 if dtype.is_complex else torch.float32, **how)
    if dtype.is_complex:
        spectrum = torch.fft.fftn(w)
        spectrum *= _amplitude(shape, [torch.fft.fftfreq(n) for n in shape])
        return torch.fft.ifftn(spectrum).to(device, dtype)
    spectrum = torch.fft.rfftn(w)
    axes = [*(torch.fft.fftfreq(n) for n in shape[:-1]), torch.fft.rfftfreq(shape[-1])]
    spectrum *= _amplitude(shape, axes)
    return torch.fft.irfftn(spectrum, shape).to(device, dtype)


def _amplitude(shape: tuple[int, ...], axes: list[torch.Tensor]) -> torch.Tensor:
    """Return one over the frequency on a spectrum, or half of one, of mean square one."""
    squared = torch.zeros(())
    for f in axes:
        squared = squared[..., None] + f.square()
    amplitude = squared.clamp_min_((0.5 / max(shape)) ** 2).rsqrt_()
    last = len(axes[-1])
    counts = torch.full((last,), 1.0 if last == shape[-1] else 2.0)
    if last < shape[-1]:  # all but the ends of half a spectrum stand for two
        counts[0] = 1.0
        counts[-1] = 1.0 if shape[-1] % 2 == 0 else 2.0
    return amplitude.div_((amplitude.square() * counts).sum().div(math.prod(shape)).sqrt())
