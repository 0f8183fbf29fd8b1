"""export_to_folder: a training run or a checkpoint as a model to pass on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from normalfit.written_beside import check_output
from partunroll.configuration.train_config import load_config
from partunroll.errors import InputError
from partunroll.network.checkpoint import load_checkpoint
from partunroll.network.exported_model import digest_of, save_model
from partunroll.network.model_card import model_card, num_parameters

if TYPE_CHECKING:
    from pathlib import Path

    from partunroll.configuration.train_config import TrainConfig
    from partunroll.network.checkpoint import Checkpoint


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """What was exported.

    Parameters
    ----------
    path
        The folder.
    source
        The checkpoint.
    checkpoint
        Its contents.
    sha256
        Of the folder's ``SHA256SUMS``.
    """

    path: Path
    source: Path
    checkpoint: Checkpoint
    sha256: str

    def __str__(self) -> str:
        operators = ", ".join(o.name for o in self.checkpoint.operators)
        return (
            f"{self.path}: {num_parameters(self.checkpoint):,} parameters of {self.source}, "
            f"{self.checkpoint.step} steps, for the operators {operators}; sha256 {self.sha256}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "path": str(self.path),
            "source": str(self.source),
            "sha256": self.sha256,
            "parameters": num_parameters(self.checkpoint),
            "step": self.checkpoint.step,
            "metrics": dict(self.checkpoint.metrics),
            "operators": [asdict(operator) for operator in self.checkpoint.operators],
        }


def export_to_folder(source: Path, output: Path) -> ExportedModel:
    """Write the network of a run or a checkpoint as safetensors, configuration and model card.

    Parameters
    ----------
    source
        A checkpoint, or the directory of a run, whose ``best.pt`` is taken.
    output
        A new folder.

    Raises
    ------
    InputError
        The run has no ``best.pt`` yet, or the output exists.
    CheckpointError
        The checkpoint cannot be read.
    """
    check_output(output)
    path = _best_of(source) if source.is_dir() else source
    checkpoint = load_checkpoint(path)
    save_model(output, checkpoint, model_card(output.name, checkpoint, _training(path)))
    return ExportedModel(output, path, checkpoint, digest_of(output))


def _best_of(run: Path) -> Path:
    path = run / "best.pt"
    if not path.is_file():
        others = ", ".join(sorted(p.name for p in run.glob("*.pt"))) or "none"
        msg = (
            f"run must have a best.pt, got {run} with checkpoints {others}; wait for its first "
            "validation, or give a checkpoint"
        )
        raise InputError(msg)
    return path


def _training(checkpoint: Path) -> TrainConfig | None:
    """Return the configuration of the run that a checkpoint lies in; None where it is alone.

    A ``config.yaml`` without the log of a run is another program's.
    """
    config, log = (checkpoint.parent / name for name in ("config.yaml", "log.jsonl"))
    return load_config(config) if config.is_file() and log.is_file() else None
