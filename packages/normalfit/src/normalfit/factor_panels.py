"""The panels of a factor figure: what is shown, without how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from normalfit.ellipsoids import ellipsoids

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from normalfit.factors import Factors
    from normalfit.linear_operator import LinearOperator

_Array = np.ndarray[Any, Any]
_AXIS_NAMES = "zyx"
_EXACT = "exact: A*A x"
_APPROXIMATE = "factors: B x"

Style = Literal["log", "diagonal", "object", "difference"]


@dataclass(frozen=True)
class Panel:
    """One image of a figure.

    Parameters
    ----------
    title
        What it shows.
    image
        Two axes, real.
    style
        'log' for magnitudes, 'diagonal', 'object', or 'difference' around zero.
    origin
        Coordinates of the first pixel, row and column: the first lag, or zero.
    limits
        Smallest and largest value of the colours; None takes the image's own.
    """

    title: str
    image: _Array
    style: Style
    origin: tuple[int, int] = (0, 0)
    limits: tuple[float, float] | None = None


def term_rows(factors: Factors, term: int) -> dict[str, list[Panel]]:
    """Return one row of a term: planes of the kernel, its spectrum, planes of the diagonal.

    Two rows, the second one for the diagonals, if there are two that differ.
    """
    kernel = factors.kernel.values[min(term, factors.kernel.terms - 1)].detach().cpu().numpy()
    u, v = (
        None if image is None else _displayed(image[min(term, image.shape[0] - 1)])
        for image in (factors.u, factors.v)
    )
    tied = u is not None and v is not None and np.array_equal(u, v)
    label = f"term {term + 1} of {factors.terms}"
    diagonals = _image_panels("u = v" if tied else "u", u)
    if not tied:
        diagonals += _image_panels("v", v)
    if u is None or v is None or tied:
        return {label: [*_kernel_panels(kernel), *diagonals]}
    return {label: _kernel_panels(kernel), f"{label}, diagonals": diagonals}


def _kernel_panels(kernel: _Array) -> list[Panel]:
    panels = []
    for axis, plane, kept in _central_planes(np.abs(kernel)):
        first = (-(_as_image(kernel).shape[kept[0]] // 2), -(kernel.shape[kept[1]] // 2))
        panels.append(Panel(f"|h| {_at(axis, kernel.ndim)}", plane, "log", first))
    return [*panels, _spectrum_panel(kernel)]


def _image_panels(name: str, image: _Array | None) -> list[Panel]:
    if image is None:
        return []
    limits = float(image.min()), float(image.max())
    return [
        Panel(f"{name} {_at(axis, image.ndim, image=True)}", plane, "diagonal", limits=limits)
        for axis, plane, _ in _central_planes(image)
    ]


def comparison_rows(factors: Factors, operator: LinearOperator | None) -> dict[str, list[Panel]]:
    """Return rows with a made object, its exact and approximate ``A*A``, and their difference.

    In 3-D a row for the central z plane and one for the central y plane. Without an operator
    only the object and the approximation. Costs one application of A*A.
    """
    x = ellipsoids(factors.shape)
    is_complex = operator is not None and operator.is_complex
    dtype = factors.dtype.to_complex() if is_complex else factors.dtype
    approximate = factors(x.to(dtype)).detach()
    volumes = {"object x": x, _APPROXIMATE: approximate}
    if operator is not None:
        exact = operator.normal(x.to(operator.probe_dtype)).detach().to(approximate.dtype)
        error = float((approximate - exact).norm() / exact.norm())
        title = f"B x − A*A x, relative error {error:.3g}"
        volumes = {"object x": x, _EXACT: exact, _APPROXIMATE: approximate}
        volumes[title] = approximate - exact
    axes = ("z", "y") if len(factors.shape) == 3 else ("",)
    return {f"{axis} centre" if axis else " ": _comparison_row(volumes, axis) for axis in axes}


def _comparison_row(volumes: dict[str, torch.Tensor], axis: str) -> list[Panel]:
    """Return a plane of every volume; exact and approximate share their colours."""
    planes = {name: _central_plane(volume, axis) for name, volume in volumes.items()}
    shared = planes.get(_EXACT, planes[_APPROXIMATE])
    limits = float(shared.min()), float(shared.max())
    panels = []
    for name, plane in planes.items():
        style: Style = "difference" if "−" in name else "object"
        panels.append(
            Panel(name, plane, style, limits=limits if name in (_EXACT, _APPROXIMATE) else None)
        )
    return panels


def _spectrum_panel(kernel: _Array) -> Panel:
    """Return the plane of zero frequency along the leading axes: of the sum over them."""
    image = _as_image(kernel.sum(axis=tuple(range(kernel.ndim - 2))))
    spectrum = np.fft.fftshift(np.abs(np.fft.fft2(image)))  # the place of lag 0 changes phases only
    origin = -(spectrum.shape[0] // 2), -(spectrum.shape[1] // 2)
    where = " (k$_z$ = 0)" if kernel.ndim == 3 else ""
    return Panel(f"|spectrum|{where}", spectrum, "log", origin)


def _central_planes(values: _Array) -> Iterator[tuple[int | None, _Array, tuple[int, int]]]:
    """Return the planes through the centre, each with the axis it cuts and those it keeps."""
    values = _as_image(values)
    while values.ndim > 3:
        values = values[values.shape[0] // 2]
    if values.ndim == 2:
        yield None, values, (-2, -1)
        return
    for axis, kept in ((0, (-2, -1)), (1, (-3, -1)), (2, (-3, -2))):
        yield axis, values.take(values.shape[axis] // 2, axis), kept


def _as_image(values: _Array) -> _Array:
    return values[None] if values.ndim == 1 else values


def _at(axis: int | None, ndim: int, *, image: bool = False) -> str:
    """Name the plane; the centre of an image is its middle, that of a kernel lag zero."""
    if axis is None or ndim < 3:
        return ""
    return f"({_AXIS_NAMES[axis]} {'centre' if image else 'lag 0'})"


def _central_plane(x: torch.Tensor, axis: str) -> _Array:
    """Return the plane through the centre that cuts `axis`, or the leading axes."""
    values = _as_image(_displayed(x))
    if axis == "y":
        return values[:, values.shape[1] // 2]
    return values[tuple(n // 2 for n in values.shape[:-2])]


def _displayed(x: torch.Tensor) -> _Array:
    """Return what is shown of an image: itself, or its magnitude if it is complex."""
    x = x.detach().cpu()
    return (x.abs() if x.is_complex() else x).numpy()
