"""Checkpoint: a trained network with everything that must match where it is used."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import TypeAdapter, ValidationError

from partunroll.configuration.train_config import NetworkConfig, describe_problems
from partunroll.durable_file import file_named, written_durably
from partunroll.errors import CheckpointError, MismatchError
from partunroll.network.networks import Network, build_network
from partunroll.patches.patch_normal import patch_normal_kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from partunroll.patches.patch_normal import PatchNormalKind

_FORMAT = "partunroll-checkpoint"
_VERSION = 3
_READABLE = (2, 3)  # 2: without scaler, average, random numbers and digests in `training`


@dataclass(frozen=True)
class TrainedOperator:
    """An operator that a network was trained with.

    Parameters
    ----------
    name
        Its name in the data store.
    fingerprint
        Of its specification.
    norm
        Spectral norm of ``A*A`` by which gradients were divided; other units break the weights.
    initial_method, initial_window
        How the initial estimates of its samples were made, as in `SampleInfo`; the network has
        seen no others.
    """

    name: str
    fingerprint: str
    norm: float
    initial_method: str
    initial_window: str | None


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network's configuration and weights, and how they came about.

    Parameters
    ----------
    network
        Configuration, resolved.
    weights
        The network's state dict.
    operators
        What it was trained with.
    patch_shape
        Voxels per axis of the training patches.
    normal
        What the iterations on a patch applied; 'exact' is an old name of 'restricted'.
    step
        Training steps taken.
    metrics
        The last validation: ``psnr`` and so on.
    versions
        Of the libraries that wrote it.
    training
        What a resumed run needs besides (optimizer state); empty in ``best.pt``.
    """

    network: NetworkConfig
    weights: Mapping[str, torch.Tensor]
    operators: tuple[TrainedOperator, ...]
    patch_shape: tuple[int, ...]
    normal: PatchNormalKind | Literal["exact"]
    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "normal", patch_normal_kind(self.normal))

    def build_network(self, device: torch.device | str = "cpu") -> Network:
        """Return the trained network in evaluation mode.

        Raises
        ------
        CheckpointError
            The weights do not fit the configuration.
        """
        with torch.random.fork_rng(devices=[]):  # the fresh weights draw from torch's RNG
            network = build_network(self.network)
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            msg = f"checkpoint weights must fit its network configuration, got {reason}"
            raise CheckpointError(msg) from error
        return network.to(device).eval()

    def operator(self, fingerprint: str) -> TrainedOperator:
        """Return the operator of this fingerprint.

        Raises
        ------
        MismatchError
            The network was trained with other operators.
        """
        for operator in self.operators:
            if operator.fingerprint == fingerprint:
                return operator
        known = ", ".join(f"{o.name} ({o.fingerprint[:12]})" for o in self.operators)
        msg = (
            f"operator must be one the checkpoint was trained with, {known}, "
            f"got fingerprint {fingerprint[:12]}"
        )
        raise MismatchError(msg)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; `path` is always complete, the old one or the new."""
    document: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        **facts_of(checkpoint),
        "weights": dict(checkpoint.weights),
        "training": dict(checkpoint.training),
    }
    with file_named(path), written_durably(path) as fresh, fresh.open("wb") as file:
        torch.save({**document, "checksum": _checksum(document)}, file)


def is_checkpoint(path: Path) -> bool:
    """Return whether a file says that `save_checkpoint` wrote it, whole or damaged."""
    try:
        return _format(path) == _FORMAT
    except Exception:  # noqa: BLE001 - unpickling another file raises anything
        return False


def load_checkpoint(path: Path) -> Checkpoint:
    """Return a checkpoint, its tensors on the CPU; nothing in the file is executed.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, no checkpoint, or of another version.
    """
    return checkpoint_of(_read(path), path)


def facts_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return all of a checkpoint but its tensors, as JSON values."""
    return {
        "network": checkpoint.network.model_dump(mode="json"),
        "operators": [asdict(operator) for operator in checkpoint.operators],
        "patch_shape": list(checkpoint.patch_shape),
        "normal": checkpoint.normal,
        "step": checkpoint.step,
        "metrics": dict(checkpoint.metrics),
        "versions": dict(checkpoint.versions),
    }


def checkpoint_of(document: Mapping[str, Any], path: Path) -> Checkpoint:
    """Return the checkpoint of its facts, ``weights`` and ``training``.

    Raises
    ------
    CheckpointError
        Something is missing or has a value that it cannot have; `path` is named.
    """
    try:
        return Checkpoint(
            network=TypeAdapter[NetworkConfig](NetworkConfig).validate_python(document["network"]),
            weights=document["weights"],
            operators=tuple(TrainedOperator(**operator) for operator in document["operators"]),
            patch_shape=tuple(document["patch_shape"]),
            normal=document["normal"],
            step=int(document["step"]),
            metrics={name: value + 0 for name, value in dict(document["metrics"]).items()},
            versions=dict(document["versions"]),
            training=document["training"],
        )
    except ValidationError as error:
        msg = f"checkpoint {path} must hold a valid network, got {describe_problems(error)}"
        raise CheckpointError(msg) from error
    except (KeyError, TypeError, ValueError) as error:
        msg = f"checkpoint {path} must be complete, got {type(error).__name__} {error}"
        raise CheckpointError(msg) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        document = _unpickled(path)
    except Exception as error:  # unpickling a damaged file raises anything
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        msg = f"checkpoint must be a file that `partunroll train` wrote, got {path}: {reason}"
        raise CheckpointError(msg) from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        msg = f"checkpoint must be a file that `partunroll train` wrote, got {path}"
        raise CheckpointError(msg)
    if document.get("version") not in _READABLE:
        readable = " or ".join(map(str, _READABLE))
        msg = f"checkpoint {path} must have version {readable}, got {document.get('version')}"
        raise CheckpointError(msg)
    checksum = document.pop("checksum", None)
    if checksum != _checksum(document):
        msg = f"checkpoint {path} must be undamaged, got contents of another checksum"
        raise CheckpointError(msg)
    return document


def _unpickled(path: Path, device: str = "cpu") -> Any:  # noqa: ANN401 - of any file
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about other programs' pickles
        return torch.load(path, map_location=device, weights_only=True)


def _format(path: Path) -> object:
    """Return what a file says it is; the tensors are not read."""
    document = _unpickled(path, "meta")
    return document.get("format") if isinstance(document, dict) else None


def _checksum(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all values: torch does not notice flipped bits."""
    digest = hashlib.sha256()
    _add(digest, document)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, value: object) -> None:
    if isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(
            value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    elif isinstance(value, dict):
        for key, inner in value.items():
            digest.update(repr(key).encode())
            _add(digest, inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _add(digest, inner)
    else:
        digest.update(repr(value).encode())
