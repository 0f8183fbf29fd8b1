"""prepare_calgary: a data store out of the Calgary-Campinas raw data; see `calgary_layout`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from normalfit.devices import resolve_device
from normalfit.mri.coil_maps import estimate_coil_maps
from normalfit.mri.sampling_mask import Pattern, sampling_mask
from normalfit.specs import OperatorSpec, spec_from_document
from normalfit.written_beside import check_output
from partunroll.errors import InputError
from partunroll.measurements.calgary_layout import VOXEL_MM, CalgaryScan, find_scans
from partunroll.measurements.prepared_samples import Preparation, SampleSource, store_samples
from partunroll.measurements.undersampling import undersample
from partunroll.store.source_stamp import file_stamps
from partunroll.store.split_file import read_split

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray
    from rich.progress import Progress

    from normalfit.linear_operator import LinearOperator
    from partunroll.store.data_store_header import Split
    from partunroll.store.data_summary import DataSummary

SPLIT_OF_FOLDER: dict[str, Split] = {"train": "train", "val": "validation"}


@dataclass(frozen=True)
class CalgaryChoice:
    """How the scans are accelerated, and their coil maps estimated.

    Parameters
    ----------
    accelerations
        Each an operator per scan. All points of the grid count, measured or not.
    mask
        Kind of `sampling_mask`.
    mask_centre
        Side of its fully sampled centre.
    seed
        Of the masks, which all scans of one shape share.
    coil_maps
        Method of `estimate_coil_maps`.
    calibration
        Side of the centre that the maps are estimated from; of k-space before it is
        undersampled.
    slices
        As for `CalgaryScan`.

    Raises
    ------
    InputError
        There is no acceleration, or one twice, to the six digits of its name, or one below 1.
    """

    accelerations: tuple[float, ...] = (5.0, 10.0)
    mask: Pattern = "poisson-disc"
    mask_centre: int = 24
    seed: int = 0
    coil_maps: Literal["calibration", "espirit"] = "calibration"
    calibration: int = 24
    slices: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        names = [f"{acceleration:g}" for acceleration in self.accelerations]
        if not names or len(set(names)) != len(names) or not min(self.accelerations) >= 1:
            msg = (
                "accelerations must be at least one, each once and 1 or more, got "
                f"{list(self.accelerations)}"
            )
            raise InputError(msg)

    def spec(self, scan: CalgaryScan, acceleration: float) -> OperatorSpec:
        """Return the operator of a scan: its coil maps, and the mask where it was measured."""
        _, *grid = scan.shape()
        maps = estimate_coil_maps(
            scan.read(), self.calibration, method=self.coil_maps, axes=(1, 2)
        ).numpy()
        document: dict[str, Any] = {
            "kind": "multicoil_mri",
            "volume_shape": grid,
            "voxel_mm": VOXEL_MM,
            "readout_axis": 0,
            "hybrid": True,
            "coil_maps_file": "maps.npy",
            "mask_file": "mask.npy",
        }
        measured = self.drawn_mask((grid[1], grid[2]), acceleration) & scan.measured()
        return spec_from_document(document, {"coil_maps_file": maps, "mask_file": measured})

    def drawn_mask(self, sides: tuple[int, int], acceleration: float) -> NDArray[np.bool_]:
        """Return the mask of all scans of one shape ``(ky, kz)``.

        Raises
        ------
        InputError
            As `sampling_mask`, normalfit's.
        """
        return _drawn_mask(sides, self.mask, acceleration, self.mask_centre, self.seed)

    def check(self, scan: CalgaryScan) -> None:
        """Refuse before hours of work what would be refused after them; reads no values."""
        _, _, *sides = scan.shape()
        for acceleration in self.accelerations:
            self.drawn_mask((sides[0], sides[1]), acceleration)
        if not 2 <= self.calibration <= min(sides):
            msg = f"calibration must be 2 … {min(sides)}, got {self.calibration} for {scan.path}"
            raise InputError(msg)


@lru_cache(maxsize=64)
def _drawn_mask(
    sides: tuple[int, int], pattern: Pattern, acceleration: float, centre: int, seed: int
) -> NDArray[np.bool_]:
    mask = sampling_mask(sides, pattern, acceleration, calibration=centre, seed=seed)
    return np.asarray(mask, dtype=bool)


def prepare_calgary(
    folder: Path | str,
    output: Path | str,
    choice: CalgaryChoice | None = None,
    *,
    split: Path | str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> DataSummary:
    """Prepare Calgary-Campinas scans for training: every acceleration of every scan is a sample.

    Coil maps are a scan's own, and so is its operator, ``r5-e14089s3_P53248.7``; its factors are
    computed by `normalfit fit --method direct`. The reference is the coil-combined image of all
    that was measured.

    Parameters
    ----------
    folder
        Where the files are; folders below it are searched too.
    output
        The data store to make; a killed run goes on, as in `prepare`.
    choice
        Accelerations, masks, coil maps.
    split
        File that says what each scan is for, see `read_split`; the others are left out. Without
        it, files in folders ``Train`` and ``Val`` are for training and validation.
    device, progress
        As for `prepare`.

    Raises
    ------
    InputError
        Files or options do not meet their requirements.
    """
    choice = choice or CalgaryChoice()
    output = Path(output)
    check_output(output)
    scans = find_scans(folder, choice.slices)
    splits = _splits(scans, split)
    chosen = [scan for scan in scans if scan.name in splits]
    for scan in chosen:
        choice.check(scan)
    sources = [
        SampleSource(
            id=f"{scan.name}-r{acceleration:g}",
            operator=f"r{acceleration:g}-{scan.name}",
            split=splits[scan.name],
            source=str(scan.path),
            spec=lambda scan=scan, acceleration=acceleration: choice.spec(scan, acceleration),  # type: ignore[misc]
            read=lambda operator, scan=scan: _read(scan, operator),  # type: ignore[misc]
        )
        for scan in chosen
        for acceleration in choice.accelerations
    ]
    how = Preparation(None, "hann", "least-squares", None, resolve_device(device))
    made = {"by": "prepare calgary", **asdict(choice)}
    stamps = file_stamps(scan.path for scan in chosen)
    return store_samples(sources, output, how, made, stamps, progress)


def _read(scan: CalgaryScan, operator: LinearOperator) -> tuple[torch.Tensor, torch.Tensor]:
    parts = undersample(operator, scan.read())
    return parts.measurements, parts.reference


def _splits(scans: Sequence[CalgaryScan], path: Path | str | None) -> dict[str, Split]:
    if path is not None:
        return read_split(path, [scan.name for scan in scans])
    found = {
        scan.name: SPLIT_OF_FOLDER[scan.path.parent.name.lower()]
        for scan in scans
        if scan.path.parent.name.lower() in SPLIT_OF_FOLDER
    }
    if not found:
        msg = (
            f"files must lie in folders Train and Val, got {scans[0].path.parent}; say by a split "
            "file what each is for"
        )
        raise InputError(msg)
    return found
