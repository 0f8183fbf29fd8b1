"""RunDirectory: the files of a training run, made once and checked when it is resumed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from normalfit.devices import resolve_device
from normalfit.errors import NormalfitError
from normalfit.written_beside import remove_leftovers, written_beside
from partunroll.configuration.config_match import check_same_config
from partunroll.configuration.train_config import TrainConfig, load_config
from partunroll.durable_file import remove_partial_files
from partunroll.errors import InputError, PartunrollError
from partunroll.measurements.noise import noise_model
from partunroll.measurements.simulation import simulate
from partunroll.network.prior_weights import check_prior_weights
from partunroll.network.trained_on import TrainedOn
from partunroll.objects.object_sources import MadeObjects
from partunroll.store.data_store import DataStore
from partunroll.training.last_checkpoints import last_operators
from partunroll.training.patch_dataset import training_samples
from partunroll.training.patch_sampler import check_rotations
from partunroll.training.provenance import append_session, session
from partunroll.training.training_operator import match_factor_files, operators_of
from partunroll.training.training_state import TrainingState
from partunroll.versions import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch
    from rich.progress import Progress

    from normalfit.specs import OperatorSpec
    from partunroll.network.checkpoint import TrainedOperator
    from partunroll.training.training_operator import TrainingOperator

_RELATIVE_NOISE = 0.01  # our choice; it has a meaning for every operator
_MADE, MADE_DATA, _LAST = "made objects", "data.zarr", "last.pt"


@dataclass(frozen=True)
class RunDirectory:
    """Where a run is kept, and what it trains with.

    It holds ``config.yaml`` (resolved), ``provenance.json`` (code, versions and factor files of
    every call), ``log.jsonl``, ``last.pt`` and the newest few ``step-NNNNNNNN.pt`` before it, and
    ``best.pt``; with TensorBoard its event files, too.

    Parameters
    ----------
    path
        The directory.
    config
        Resolved configuration.
    data_path
        Data store.
    operators
        Operators of the data store with their factor files.
    is_new
        Whether it holds nothing but what was given for it.
    """

    path: Path
    config: TrainConfig
    data_path: Path
    operators: tuple[TrainingOperator, ...]
    is_new: bool

    @property
    def allowed(self) -> tuple[str, ...]:
        """In what factors are those of other operators, a sentence each; that was allowed."""
        return tuple(note for operator in self.operators for note in operator.notes)

    @property
    def log_path(self) -> Path:
        """JSON lines."""
        return self.path / "log.jsonl"

    @property
    def last_path(self) -> Path:
        """The checkpoint that a resumed run starts from."""
        return self.path / _LAST

    @property
    def tensorboard_path(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def best_path(self) -> Path:
        """The checkpoint of the best validation."""
        return self.path / "best.pt"

    def state(self, device: torch.device) -> TrainingState:
        """Return the last state that was saved, or a fresh one."""
        store = DataStore.open(self.data_path)
        samples = [i for ids in training_samples(self.data_path).values() for i in ids]
        digests = {operator.name: operator.factor_digest for operator in self.operators}
        trained = tuple(_trained(store, self.operators))
        trained_on = TrainedOn(
            trained, tuple(samples), store.digest, digests, any_factors=bool(self.allowed)
        )
        if self.last_path.exists():
            return TrainingState.resumed(self.last_path, self.config, trained_on, device)
        return TrainingState.fresh(self.config, trained_on, device)

    def record_session(self, step: int) -> None:
        """Append to ``provenance.json`` what trains from `step` on."""
        digest = DataStore.open(self.data_path).digest
        made_with = session(step, self.operators, self.config.network.prior, digest)
        append_session(self.path / "provenance.json", made_with)


def open_run(
    config: TrainConfig | None,
    factor_files: Sequence[Path],
    data: Path | None,
    output: Path,
    *,
    resume: bool,
    progress: Progress,
    allow_mismatch: bool = False,
    hold: Callable[[Path], None] | None = None,
) -> RunDirectory:
    """Make the directory of a run, or open it to resume; arguments as for `train`.

    Parameters
    ----------
    hold
        Called with the directory before anything in it is changed, to keep other processes
        away; None: nothing of a resumed run is changed.

    Raises
    ------
    InputError, MismatchError
        As for `train`; nothing has been written then.
    """
    check_output(output, data, resume=resume)
    if resume and hold is not None:
        hold(output)
    saved = load_config(output / "config.yaml") if resume else None
    data_path, last = data or output / MADE_DATA, output / _LAST
    known = data is not None or data_path.exists()
    specs = DataStore.open(data_path).operators if known else operators_of(factor_files)
    operators = match_factor_files(
        specs,
        factor_files,
        data=data_path,
        checkpoint=last,
        trained=last_operators(last),
        allow_mismatch=allow_mismatch,
    )
    grid_shape = _smallest([operator.factors.shape for operator in operators])
    resolved = (config or saved or TrainConfig()).resolved(
        grid_shape, is_complex=_is_complex(operators)
    )
    resolve_device(resolved.device)
    check_rotations(resolved, specs)
    if data is not None:
        training_samples(data)
        _trained(DataStore.open(data), operators)
        _check_patience(resolved, data)
    if saved is not None:
        was = saved.resolved(grid_shape, is_complex=_is_complex(operators))
        check_same_config(was, resolved, output)
    if saved is not None and hold is not None:
        remove_partial_files(output)
        remove_leftovers(output / MADE_DATA)
    if not (output / _LAST).exists():
        check_prior_weights(resolved.network.prior)
    if saved is None:
        output.parent.mkdir(parents=True, exist_ok=True)
        notes = [note for operator in operators for note in operator.notes]
        with written_beside(output) as fresh:  # a kill leaves no directory without its config
            fresh.mkdir()
            _write_config(fresh / "config.yaml", resolved, factor_files, data, notes)
        if hold is not None:
            hold(output)
    if not data_path.exists():
        try:
            _make_data(data_path, specs, resolved, progress)
        except (NormalfitError, PartunrollError):
            if saved is None:
                shutil.rmtree(output)
            raise
    is_new = saved is None and data is not None
    return RunDirectory(output, resolved, data_path, operators, is_new)


def _check_patience(config: TrainConfig, data: Path) -> None:
    """Raise InputError where an early stop is wanted and there is nothing to judge by."""
    if config.validation.patience is not None and not DataStore.open(data).split("validation"):
        msg = (
            f"data {data} must hold samples of the split 'validation' for validation.patience "
            f"{config.validation.patience}, got none; leave it out"
        )
        raise InputError(msg)


def _is_complex(operators: Sequence[TrainingOperator]) -> bool:
    """Return whether the volumes are complex, as all factors say.

    Raises
    ------
    InputError
        Some are, and some are not.
    """
    kinds = {operator.factors.is_complex for operator in operators}
    if len(kinds) > 1:
        names = ", ".join(f"{o.name} ({o.factors.header.dtype})" for o in operators)
        msg = f"factors must be all real or all complex, got {names}"
        raise InputError(msg)
    return kinds.pop()


def _trained(store: DataStore, operators: Sequence[TrainingOperator]) -> list[TrainedOperator]:
    """Return the operators that have training samples, as checkpoints keep them."""
    samples = store.split("train")
    used = {sample.operator for sample in samples}
    return [operator.trained_on(samples) for operator in operators if operator.name in used]


def check_output(output: Path, data: Path | None, *, resume: bool) -> None:
    """Refuse a new run that is there, and one to resume that is not, or lacks its data.

    Raises
    ------
    InputError
        It is so.
    """
    if not resume and output.exists():
        msg = f"output must not exist yet, got {output}; resume it, or choose another name"
        raise InputError(msg)
    if resume and not (output / "config.yaml").is_file():
        msg = f"output must be a run to resume, got {output} without config.yaml"
        raise InputError(msg)
    made = (output / MADE_DATA).exists() or (resume and _says_made(output / "config.yaml"))
    if data is None and resume and not made:
        msg = f"data must be given to resume {output}, which was trained on a data store, got none"
        raise InputError(msg)


def _says_made(config: Path) -> bool:
    """Whether the comments of a run's configuration say that it makes its own objects."""
    return f"# data {_MADE}" in config.read_text(encoding="utf-8").splitlines()


def _smallest(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shortest length per axis: patches must fit into every volume."""
    if len({len(shape) for shape in shapes}) != 1:
        msg = f"operators must have volumes with equally many axes, got shapes {shapes}"
        raise InputError(msg)
    return tuple(min(lengths) for lengths in zip(*shapes, strict=True))


def _make_data(
    path: Path, specs: Mapping[str, OperatorSpec], config: TrainConfig, progress: Progress
) -> None:
    """Simulate measurements of made objects."""
    made = config.made_objects
    silent = made.photons is None and made.relative_noise is None
    noise = noise_model(made.photons, _RELATIVE_NOISE if silent else made.relative_noise)
    simulate(
        specs,
        MadeObjects(made.train + made.validation, made.seed),
        path,
        noise=noise,
        seed=made.seed,
        validation=made.validation,
        device=config.device,
        progress=progress,
    )


def _write_config(
    path: Path,
    config: TrainConfig,
    factor_files: Sequence[Path],
    data: Path | None,
    notes: Sequence[str],
) -> None:
    """Write the configuration as a file that `load_config` reads; the rest are comments."""
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        f"# made by {used}",
        *(f"# factors {factors}" for factors in factor_files),
        f"# data {data or _MADE}",
        *(f"# {note}" for note in notes),
        yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
