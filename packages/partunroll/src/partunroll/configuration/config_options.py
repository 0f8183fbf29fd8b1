"""config_from_options: the training configuration that a command line means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from partunroll.configuration.train_config import load_config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from partunroll.configuration.train_config import TrainConfig


def config_from_options(
    path: Path | None, options: Mapping[str, Any], run: Path, *, resume: bool
) -> TrainConfig | None:
    """Return the configuration of a file with options on top; None: that of the resumed run.

    Parameters
    ----------
    path
        Configuration file; None: the defaults or, with `resume`, the file of the run.
    options
        Values by key; those that are None were not given.
    run
        Directory of the run.
    resume
        Whether the run is resumed.

    Raises
    ------
    InputError
        As for `load_config`.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if resume and path is None:
        return load_config(run / "config.yaml", given) if given else None
    return load_config(path, given)
