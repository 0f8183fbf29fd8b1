"""check_order: whether projections fit their reference as they are, or better turned some way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

# An order that leaves less than this of what the given one leaves is the right one; with the
# right order all others leave more than it, whatever the noise.  # our choice
CLEARLY_BETTER = 0.8


def check_order(name: str, y: torch.Tensor, projected: torch.Tensor, num_orbits: int) -> None:
    """Refuse projections that fit better with their views backwards, or turned in their plane.

    Parameters
    ----------
    name
        Of the sample.
    y, projected
        Measured projections, and those of the reference: ``(views, rows, columns)``.
    num_orbits
        Full circles that the views consist of, one after the other.

    Raises
    ------
    InputError
        They do; says which way, and both relative residuals.
    """
    y = y.reshape(num_orbits, -1, *y.shape[1:])
    projected = projected.reshape(y.shape)
    given = _residual(y, projected, lambda image: image, backwards=False)
    others = {
        f"{order}{turn}": _residual(y, projected, turned, backwards=bool(order))
        for order in ("", "the views backwards")
        for turn, turned in _TURNS.items()
    }
    best = min(others, key=lambda way: others[way])
    if others[best] < CLEARLY_BETTER * given:
        msg = (
            f"projections of {name} must fit their reference as they are, got a relative residual "
            f"of {given:.3f}, and of {others[best]:.3f} with {best.removeprefix(' and ')}; "
            "the files are not in the layout that is expected"
        )
        raise InputError(msg)


_TURNS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "": lambda image: image,
    " and the rows upside down": lambda image: image.flip(0),
    " and the columns mirrored": lambda image: image.flip(1),
    " and the images turned by 180°": lambda image: image.flip(0, 1),
}


def _residual(
    y: torch.Tensor,
    projected: torch.Tensor,
    turned: Callable[[torch.Tensor], torch.Tensor],
    *,
    backwards: bool,
) -> float:
    """Return the relative residual, a view at a time; backwards keeps the first view."""
    squares = 0.0
    for measured, expected in zip(y, projected, strict=True):
        for i, image in enumerate(expected):
            other = measured[-i if backwards else i]
            squares += float((turned(other) - image).double().square().sum())
    return float(squares**0.5 / y.norm().clamp_min(1e-30))
