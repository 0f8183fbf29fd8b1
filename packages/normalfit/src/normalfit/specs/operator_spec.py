"""OperatorSpec: the checked description of an operator, from YAML or from a stored document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from pydantic import ValidationError

from normalfit.errors import InputError
from normalfit.specs.array_file import read_array_file
from normalfit.specs.cone_beam import ConeBeamSpec
from normalfit.specs.deconvolution import DeconvolutionSpec
from normalfit.specs.fingerprint import fingerprint
from normalfit.specs.inpainting import InpaintingSpec
from normalfit.specs.multicoil_mri import MulticoilMRISpec
from normalfit.specs.noncartesian_mri import NonCartesianMRISpec
from normalfit.specs.operator_config import Attachments, OperatorConfig
from normalfit.specs.parallel_beam import ParallelBeamSpec
from normalfit.specs.plugins import plugin_config, plugin_kinds
from normalfit.specs.problems import Problem, problem, problems_of, refuse
from normalfit.specs.python_function import PythonFunctionSpec
from normalfit.specs.quantities import Backend
from normalfit.specs.yaml_mapping import read_yaml_mapping

if TYPE_CHECKING:
    from normalfit.grid import Grid
    from normalfit.linear_operator import LinearOperator

_OWN: tuple[type[OperatorConfig], ...] = (
    ConeBeamSpec,
    ParallelBeamSpec,
    DeconvolutionSpec,
    InpaintingSpec,
    MulticoilMRISpec,
    NonCartesianMRISpec,
    PythonFunctionSpec,
)
CONFIGS: dict[str, type[OperatorConfig]] = {
    get_args(config.model_fields["kind"].annotation)[0]: config for config in _OWN
}


@dataclass(frozen=True, eq=False)
class OperatorSpec:
    """A checked operator description; compare two by their fingerprints.

    Parameters
    ----------
    config
        The keys, checked and completed with their defaults.
    arrays
        Contents of the files that the keys name, by key; read-only.
    folder
        Folder of the YAML file, where a Python function is looked for; None if there is none.
    """

    config: OperatorConfig
    arrays: Mapping[str, np.ndarray]
    folder: Path | None = None

    @property
    def kind(self) -> str:
        """Kind of the operator."""
        return str(getattr(self.config, "kind"))  # noqa: B009 - every kind has one of its own

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what the operator is, in hex; the same whatever its backend."""
        return fingerprint(self.document(), self.arrays)

    @property
    def grid(self) -> Grid:
        """Domain of the operator. Kind `python` is built for it, the others are not."""
        grid = self.config.grid
        return self.build().domain if grid is None else grid

    def document(self) -> dict[str, Any]:
        """Return the keys as JSON values; `spec_from_document` takes them, with `arrays`."""
        return self.config.model_dump(mode="json", exclude_none=True)

    def build(self, backend: str | None = None) -> LinearOperator:
        """Build the operator; imports torch.

        Parameters
        ----------
        backend
            Replaces the spec's `backend`; kinds without that key ignore it.

        Raises
        ------
        InputError
            `backend` is unknown, or the operator refuses its description.
        BackendError
            The backend is not available.
        """
        if backend not in (None, *get_args(Backend)):
            msg = f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}"
            raise InputError(msg)
        config = self.config
        if backend is not None and "backend" in type(config).model_fields:
            config = config.model_copy(update={"backend": backend})
        return config.build(Attachments(self.arrays, self.folder))


def load_spec(path: Path | str) -> OperatorSpec:
    """Read an operator's YAML file and the files that it names, relative to its folder.

    Raises
    ------
    InputError
        The file is missing or no YAML mapping, or keys or files do not meet their
        requirements; the message lists every problem as ``path: key: problem, got value``.
    """
    path = Path(path)
    document = read_yaml_mapping(path)
    arrays: dict[str, np.ndarray] = {}
    problems: list[Problem] = []
    config_class = _config_class(document, str(path))
    for key in config_class.file_keys:
        name = document.get(key)
        if not isinstance(name, str) or not name:
            continue  # left out, or a problem that the check of the keys reports
        try:
            arrays[key] = read_array_file(path.parent / name)
        except ValueError as error:
            problems.append(problem(key, str(error), name))
    return _checked(config_class, document, arrays, problems, str(path), path.parent)


def spec_from_document(
    document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> OperatorSpec:
    """Return the spec whose `document()` and `arrays` these are; no file is read.

    Raises
    ------
    InputError
        As `load_spec`, or an array is missing.
    """
    place = "stored operator"
    config_class = _config_class(document, place)
    keys = [k for k in config_class.file_keys if isinstance(document.get(k), str)]
    problems = [Problem(k, "must come with its array, got none") for k in keys if k not in arrays]
    # generated arrays that are missing are made anew; the fingerprint tells if they changed
    present = {k: arrays[k] for k in (*keys, *config_class.generated_keys) if k in arrays}
    return _checked(config_class, document, present, problems, place, None)


def _config_class(document: Mapping[str, Any], place: str) -> type[OperatorConfig]:
    kind = document.get("kind")
    brought = plugin_kinds()
    if not isinstance(kind, str) or kind not in (*CONFIGS, *brought):
        refuse(place, [problem("kind", f"must be one of {', '.join((*CONFIGS, *brought))}", kind)])
    if kind in CONFIGS and kind in brought:
        msg = (
            f"kind {kind} must be normalfit's own, got an entry of another package too; "
            "rename or uninstall that"
        )
        raise InputError(msg)
    own = CONFIGS.get(kind)
    config = plugin_config(kind) if own is None else own
    assert config is not None  # noqa: S101 - looked up above
    return config


def _checked(
    config_class: type[OperatorConfig],
    document: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    problems: list[Problem],
    place: str,
    folder: Path | None,
) -> OperatorSpec:
    """Check keys, arrays, and one against the other; refuse with all problems at once."""
    kept: dict[str, np.ndarray] = {}
    for key, array in arrays.items():
        if key in config_class.generated_keys:
            kept[key] = array
            continue
        try:
            kept[key] = config_class.file_keys[key](array)
        except ValueError as error:
            problems.append(problem(key, str(error), document[key]))
    # a folder's name says nothing about the operator, and may say much about the user
    names = {key: Path(document[key]).name for key in arrays if key in config_class.file_keys}
    try:
        config = config_class.model_validate({**document, **names})
        problems += config.array_problems(kept)
    except ValidationError as error:
        problems += problems_of(error, document, config_class.model_fields)
    if problems:
        refuse(place, problems)
    if not set(config_class.generated_keys) & set(kept):
        kept |= _generated(config, kept, place)
    for array in kept.values():
        array.setflags(write=False)
    return OperatorSpec(config, kept, folder)


def _generated(
    config: OperatorConfig, arrays: Mapping[str, np.ndarray], place: str
) -> dict[str, np.ndarray]:
    try:
        return config.generated(arrays)
    except InputError as error:
        msg = f"{place}: {error}"
        raise InputError(msg) from error
