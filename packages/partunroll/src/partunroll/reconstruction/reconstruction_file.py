"""Reconstruction files: volumes and how they came about, in one Zarr group.

Layout, version 0.2 (0.1 has no history of stage 2)::

    recon.zarr             attributes: `Header`
      reconstruction       result of the last stage, float32 or complex64, on the domain
      stage1               result of stage 1
      initial_estimate     where the iterations started
"""

from __future__ import annotations

import datetime as dt
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic
import zarr
from pydantic import ConfigDict, Field, JsonValue

from normalfit.exchange import put_in_place
from normalfit.written_beside import written_beside
from partunroll.errors import InputError, ReconstructionFileError
from partunroll.store.data_store_arrays import CheckedArray
from partunroll.store.data_store_header import ArrayEntry  # noqa: TC001 - pydantic reads it
from partunroll.store.stored_volume import write_planes
from partunroll.versions import versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from partunroll.store.stored_volume import StoredVolume

FORMAT, VERSION = "partunroll-reconstruction", "0.2"
ARRAYS = ("reconstruction", "stage1", "initial_estimate")


class InitialFacts(pydantic.BaseModel):
    """How an initial estimate was made, in words, or the path that it was read from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str | None
    path: str | None


class ReconstructionFacts(pydantic.BaseModel):
    """How a reconstruction came about.

    Attributes
    ----------
    command
        The command line; None where there was none.
    operator, fingerprint, norm
        Document and fingerprint of the operator, and the norm that gradients were divided by.
    checkpoint
        Path, SHA-256 and training step of the network.
    factors
        Path of the factor file; None where none was used.
    measurements
        Their path, and what their file said about them.
    initial_estimate
        How the initial estimate was made, or where it was read.
    intensity_per_mm
        What the measurements were divided by and the volumes multiplied by; None for nothing.
    settings
        Stages, normal operators, patches, device.
    iterations
        Of stage 1: step sizes, gradient and residual norms.
    patch_iterations
        Of stage 2, on all patches together: step sizes and gradient norms.
    residual_norm
        ``‖y − A x̂‖ / ‖y‖`` after stage 1; None where stage 2 was left out.
    final_residual_norm
        ``‖y − A x‖ / ‖y‖`` of the result of stage 2; None without it.
    seconds
        Time of each stage.
    voxel_mm
        Sides of a voxel, one per axis; None where they have none.
    notes
        What the user should know, a sentence each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str | None
    operator: dict[str, JsonValue]
    fingerprint: str
    norm: float
    checkpoint: dict[str, JsonValue]
    factors: str | None
    measurements: dict[str, JsonValue]
    initial_estimate: InitialFacts
    intensity_per_mm: float | None
    settings: dict[str, JsonValue]
    iterations: list[dict[str, JsonValue]]
    patch_iterations: list[dict[str, JsonValue]] = Field(default_factory=list)
    residual_norm: float | None
    final_residual_norm: float | None = None
    seconds: list[float]
    voxel_mm: tuple[float, ...] | None
    notes: list[str] = Field(default_factory=list)


class Header(pydantic.BaseModel):
    """The attributes of a reconstruction file, version 0.2 or 0.1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["partunroll-reconstruction"] = "partunroll-reconstruction"
    version: Literal["0.1", "0.2"] = "0.2"
    created: str
    versions: dict[str, str]
    arrays: dict[str, ArrayEntry] = Field(min_length=1)
    facts: ReconstructionFacts


@dataclass(frozen=True)
class ReconstructionFile:
    """A reconstruction file, opened.

    Parameters
    ----------
    path
        The folder.
    header
        Its checked attributes.
    """

    path: Path
    header: Header

    @property
    def facts(self) -> ReconstructionFacts:
        """How the reconstruction came about."""
        return self.header.facts

    def read(self, name: str) -> np.ndarray:
        """Return one of the volumes, float32 or complex64.

        Raises
        ------
        ReconstructionFileError
            There is none of this name, or a chunk is missing or damaged.
        """
        with damage_reported(self.path):
            return CheckedArray(self.path / name, self.header.arrays[name]).read()

    def __str__(self) -> str:
        facts = self.facts
        shape = " × ".join(map(str, self.header.arrays["reconstruction"].shape))
        residuals = [i["residual_norm"] for i in facts.iterations if i["residual_norm"] is not None]
        later = (facts.residual_norm, facts.final_residual_norm)
        shown = " → ".join(f"{r:.4f}" for r in [*residuals, *later] if r is not None)
        times = ", ".join(f"stage {k} {s:.1f} s" for k, s in enumerate(facts.seconds, 1))
        lines = [
            f"{self.path}: {shape}, {facts.settings['num_patches']} patches of "
            f"{facts.settings['patch_shape']}; residual |y − A x| / |y| {shown}; {times}"
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in facts.notes)])

    def as_json(self) -> dict[str, Any]:
        """Return path and facts as JSON values."""
        return {"path": str(self.path), **self.facts.model_dump(mode="json")}


def save_reconstruction(
    path: Path | str,
    volumes: Mapping[str, np.ndarray | StoredVolume],
    facts: ReconstructionFacts,
    *,
    scale: float = 1.0,
    folder: Path | None = None,
) -> ReconstructionFile:
    """Write a reconstruction file beside its place, read it back, rename it, and open it.

    Parameters
    ----------
    path
        A new path.
    volumes
        Arrays by the names of `ARRAYS`, in memory or on disk; written some planes at a time.
    facts
        How they came about.
    scale
        What the volumes are multiplied by.
    folder
        Where the file is written before it is renamed: one of the same file system that is
        there to be cleared. None is a folder beside `path`, cleared when this fails.

    Raises
    ------
    InputError
        `path` exists or its folder does not; normalfit's.
    """
    path = Path(path)
    attributes = {"fingerprint": facts.fingerprint, "voxel_mm": facts.voxel_mm}
    with _fresh(path, folder) as fresh:
        group = zarr.create_group(fresh, zarr_format=3)
        entries = {
            name: write_planes(fresh / name, volumes[name], scale, attributes) for name in ARRAYS
        }
        created = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        header = Header(created=created, versions=versions(), arrays=entries, facts=facts)
        group.attrs.put(header.model_dump(mode="json"))
    return open_reconstruction(path)


@contextmanager
def _fresh(path: Path, folder: Path | None) -> Iterator[Path]:
    """Yield where to write a file that is renamed to `path` at the end."""
    if folder is None:
        with written_beside(path) as fresh:
            yield fresh
        return
    fresh = folder / "output"
    shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed
    yield fresh
    try:
        put_in_place(fresh, path, overwrite=False)
    except FileExistsError as error:
        msg = f"output must not exist yet, got {path}, made meanwhile; the result is {fresh}"
        raise InputError(msg) from error


def open_reconstruction(path: Path | str) -> ReconstructionFile:
    """Open a reconstruction file: read and check its header, no array.

    Raises
    ------
    ReconstructionFileError
        There is none at `path`, it is damaged, or has another version.
    """
    path = Path(path)
    if not (path / "zarr.json").is_file():
        msg = f"{path} must be a reconstruction (a folder with a zarr.json), got none"
        raise ReconstructionFileError(msg)
    with damage_reported(path):
        attributes = zarr.open_group(path, mode="r", zarr_format=3).attrs.asdict()
        return ReconstructionFile(path, Header.model_validate(attributes))


def is_reconstruction(path: Path | str) -> bool:
    """Return whether a path looks like a reconstruction file, sound or not."""
    header = Path(path) / "zarr.json"
    return header.is_file() and FORMAT in header.read_text(encoding="utf-8", errors="replace")


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn whatever zarr, its codecs and pydantic raise into a ReconstructionFileError."""
    try:
        yield
    except (PermissionError, MemoryError):
        raise
    except pydantic.ValidationError as error:
        problems = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
        msg = f"{path} must be a sound reconstruction of version {VERSION}, got {problems}"
        raise ReconstructionFileError(msg) from error
    except Exception as error:  # zarr, numcodecs and json raise many kinds
        reason = " ".join(str(error).split())
        msg = f"{path} must be a sound reconstruction, got {type(error).__name__}: {reason}"
        raise ReconstructionFileError(msg) from error
