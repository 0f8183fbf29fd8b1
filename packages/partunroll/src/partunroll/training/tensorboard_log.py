"""TensorBoardLog: a training run as TensorBoard shows it: scalars and slices.

The one place that imports TensorBoard, which the extra `tensorboard` installs.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from normalfit.errors import BackendError
from partunroll.volumes.slice_images import slice_images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch


def check_tensorboard() -> None:
    """Refuse to log for TensorBoard where it is not installed.

    Raises
    ------
    BackendError
        It is not; normalfit's.
    """
    if importlib.util.find_spec("tensorboard") is None:
        msg = (
            "tensorboard must be installed to log for it, got none; "
            "pip install 'partunroll[tensorboard]', or leave out tensorboard"
        )
        raise BackendError(msg)


class TensorBoardLog:
    """Event files of a run, to be shown by ``tensorboard --logdir``.

    Parameters
    ----------
    folder
        Where they are; a resumed run adds another.
    step
        Steps that are kept: what was logged of later ones is no longer shown.

    Raises
    ------
    BackendError
        TensorBoard is not installed; normalfit's.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        check_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        again = folder.exists()  # a run that was killed before its first checkpoint has step 0
        self._writer = SummaryWriter(folder, purge_step=step + 1 if again else None)

    def write(self, step: int, **values: object) -> None:
        """Log every number; of a list with its place, of a dictionary with its key."""
        for name, number in _numbers(values):
            self._writer.add_scalar(name, number, step)
        if "validation" in values:  # a few times an hour; steps are flushed by the writer's clock
            self._writer.flush()

    def show(
        self, step: int, name: str, reconstruction: torch.Tensor, reference: torch.Tensor
    ) -> None:
        """Log the pictures of `slice_images` as ``slices/NAME/AXIS``."""
        for axis, image in slice_images(reconstruction, reference).items():
            self._writer.add_image(f"slices/{name}/{axis}", image, step, dataformats="HWC")

    def close(self) -> None:
        """Write what has not been written yet."""
        self._writer.close()


def _numbers(values: object, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers in nested values with their names; anything else is passed over."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _numbers(value, f"{name}/{key}" if name else str(key))
    elif isinstance(values, (list, tuple)):
        for place, value in enumerate(values, 1):
            yield from _numbers(value, f"{name}/{place}")
    elif isinstance(values, (int, float)) and not isinstance(values, bool):
        yield name, float(values)
