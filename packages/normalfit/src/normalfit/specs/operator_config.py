"""OperatorConfig: what the checked YAML of every kind of operator has in common."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationInfo

from normalfit.specs.problems import Problem

if TYPE_CHECKING:
    from normalfit.grid import Grid
    from normalfit.linear_operator import LinearOperator

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Attachments:
    """What stands beside a spec's keys.

    Parameters
    ----------
    arrays
        Contents of the files that the spec names, by key.
    folder
        Folder of the YAML file; None where the spec was stored in another file.
    """

    arrays: Arrays
    folder: Path | None


class OperatorConfig(BaseModel, abc.ABC):
    """Keys of one kind of operator, checked and completed with their defaults.

    `file_keys` maps each key that names a file to the function that turns what the file holds
    into the array to use (it raises ValueError with the requirement that is not met).
    `generated_keys` are those whose arrays `generated` draws or computes. They are kept, stored
    and fingerprinted like the contents of files, so that a stored operator does not change with
    the library that drew it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
    file_keys: ClassVar[dict[str, Callable[[np.ndarray], np.ndarray]]] = {}
    generated_keys: ClassVar[tuple[str, ...]] = ()

    @property
    def grid(self) -> Grid | None:
        """Domain of the operator; None where only building it tells."""
        return None

    def array_problems(self, arrays: Arrays) -> Iterator[Problem]:  # noqa: ARG002
        """Yield what does not fit between the keys and the arrays."""
        yield from ()

    def generated(self, arrays: Arrays) -> dict[str, np.ndarray]:  # noqa: ARG002
        """Return the arrays of `generated_keys` that these keys ask for.

        Raises
        ------
        InputError
            They cannot be made.
        """
        return {}

    @abc.abstractmethod
    def build(self, attachments: Attachments) -> LinearOperator:
        """Build the operator; imports torch and what else it needs."""


def either(value: Any, info: ValidationInfo, *others: str, default: object = None) -> Any:  # noqa: ANN401
    """Check a key that must be given exactly if none of `others` is; return its value.

    `others` must stand before the key in the model. An optional key has a `default`.
    """
    if any(name not in info.data for name in others):
        return value  # that key has a problem of its own
    rivals = [name for name in others if info.data[name] is not None]
    if rivals and value is not None:
        msg = f"must not be given beside {rivals[0]}"
        raise ValueError(msg)
    if rivals or value is not None:
        return value
    if default is None:
        msg = f"must be given unless {' or '.join(others)} is"
        raise ValueError(msg)
    return default
