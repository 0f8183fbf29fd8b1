"""prepare_walnut: a data store out of the Walnut-CBCT collection; see `walnut_layout`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from normalfit.devices import resolve_device
from normalfit.written_beside import check_output
from partunroll.errors import InputError
from partunroll.initial.geometry_shift import geometry_shift
from partunroll.measurements.prepared_samples import Preparation, SampleSource, store_samples
from partunroll.measurements.walnut_layout import ORBITS, Geometry, WalnutFolder, find_walnuts
from partunroll.measurements.walnut_scan import WalnutScan
from partunroll.store.source_stamp import file_stamps
from partunroll.store.split_file import read_split
from partunroll.volumes.order_check import check_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress

    from normalfit.specs import OperatorSpec
    from partunroll.initial.initial_estimate import Method
    from partunroll.store.data_store_header import Split
    from partunroll.store.data_summary import DataSummary

HELD_OUT = 8 / 42  # of the walnuts are for validation: 34 / 8 of all of them
LARGE_MISMATCH = 0.2  # a reference that leaves more of the projections is noted; our choice
MAX_SHIFT_PIXELS = 0.5  # our choice


@dataclass(frozen=True)
class WalnutChoice:
    """Which of the data are taken, and how coarsely.

    Parameters
    ----------
    views
        Numbers of views, each an operator of the store.
    orbits
        Which of the three scans: 1 is the highest source, 2 the middle, 3 the lowest. `views`
        are taken of each.
    volume_bin, detector_bin
        Voxels, and pixels, that become one along each axis.
    geometry
        The authors' corrected geometry, or the one before.
    max_shift_pixels
        A walnut whose geometry differs less than this from that of an operator, by where it
        sees the corners of the volume, is a sample of that operator; else of one of its own.

    Raises
    ------
    InputError
        A number is out of range, or one is given twice.
    """

    views: tuple[int, ...] = (30, 50, 100)
    orbits: tuple[int, ...] = (2,)
    volume_bin: int = 1
    detector_bin: int = 1
    geometry: Geometry = "corrected"
    max_shift_pixels: float = MAX_SHIFT_PIXELS

    def __post_init__(self) -> None:
        for name, values in (("views", self.views), ("orbits", self.orbits)):
            if not values or len(set(values)) != len(values):
                msg = f"{name} must be at least one, each once, got {list(values)}"
                raise InputError(msg)
        if not set(self.orbits) <= set(ORBITS):
            msg = f"orbits must be of {ORBITS}, got {list(self.orbits)}"
            raise InputError(msg)
        if not self.max_shift_pixels >= 0:
            msg = f"max_shift_pixels must be zero or more, got {self.max_shift_pixels}"
            raise InputError(msg)

    def scan(self, walnut: WalnutFolder, num_views: int) -> WalnutScan:
        """Return these views of a walnut."""
        orbits = tuple(walnut.orbit(number, self.geometry) for number in self.orbits)
        return WalnutScan(walnut, orbits, num_views, self.volume_bin, self.detector_bin)


def prepare_walnut(
    folder: Path | str,
    output: Path | str,
    choice: WalnutChoice | None = None,
    *,
    split: Path | str | None = None,
    validation: int | None = None,
    intensity_per_mm: float | None = None,
    window: str = "hann",
    method: Method = "auto",
    backend: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> DataSummary:
    """Prepare walnuts for training: every number of views of every walnut is a sample.

    The operators are called ``views-30`` and so on; those of walnuts whose geometry is another
    ``views-30-Walnut7``. Every reference is projected again: the summary names the relative
    residuals, and projections that fit better in another order, or turned, are refused.

    Parameters
    ----------
    folder
        Where the walnuts are.
    output
        The data store to make; a killed run goes on, as in `prepare`.
    choice
        What of the data is taken.
    split
        File that says what each walnut is for, see `read_split`; the others are left out.
    validation
        Instead of it: how many of the last walnuts are for validation, the others being for
        training; None: 8 of 42, and in that proportion of fewer, but one of two.
    intensity_per_mm, window, method, backend, device, progress
        As for `prepare`.

    Raises
    ------
    InputError
        Files or options do not meet their requirements.
    """
    choice = choice or WalnutChoice()
    output = Path(output)
    check_output(output)
    walnuts = find_walnuts(folder)
    splits = _splits(walnuts, split, validation)
    chosen = [walnut for walnut in walnuts if walnut.name in splits]
    operators: dict[str, OperatorSpec] = {}
    sources, files = [], []
    for walnut in chosen:
        for num_views in choice.views:
            scan = choice.scan(walnut, num_views)
            name = _operator_name(scan, operators, choice.max_shift_pixels)
            files += scan.files()
            sources.append(_source(scan, name, operators[name], splits[walnut.name]))
    how = Preparation(
        intensity_per_mm, window, method, backend, resolve_device(device), LARGE_MISMATCH
    )
    made = {"by": "prepare walnut", **asdict(choice)}
    stamps = file_stamps(dict.fromkeys(files))
    summary = store_samples(sources, output, how, made, stamps, progress)
    own = sorted(set(operators) - {f"views-{n}" for n in choice.views})
    if own:
        note = (
            f"{len(own)} operators, {', '.join(own)}, are there because the geometry of these "
            f"walnuts is more than {choice.max_shift_pixels:g} pixels from that of the others; "
            "each needs factors of its own"
        )
        summary = replace(summary, notes=(note, *summary.notes))
    return summary


def _source(scan: WalnutScan, name: str, spec: OperatorSpec, split: Split) -> SampleSource:
    sample_id = f"{scan.walnut.name}-{scan.num_views}"
    return SampleSource(
        id=sample_id,
        operator=name,
        split=split,
        source=str(scan.walnut.path),
        spec=lambda: spec,
        read=scan.read,
        check=partial(check_order, sample_id, num_orbits=len(scan.orbits)),
    )


def _operator_name(scan: WalnutScan, operators: dict[str, OperatorSpec], max_shift: float) -> str:
    """Return the operator that measured a scan, adding it where there is none yet."""
    spec = scan.spec()
    common = f"views-{scan.num_views}"
    for name, known in operators.items():
        if known.document() != spec.document() or not name.startswith(common):
            continue
        vectors = (known.arrays["cone_vec_file"], spec.arrays["cone_vec_file"])
        if geometry_shift(*vectors, spec.grid) <= max_shift:
            return name
    name = f"{common}-{scan.walnut.name}" if common in operators else common
    operators[name] = spec
    return name


def _splits(
    walnuts: Sequence[WalnutFolder], path: Path | str | None, validation: int | None
) -> dict[str, Split]:
    names = [walnut.name for walnut in walnuts]
    if path is not None:
        if validation is not None:
            msg = f"validation must be left out with a split file, got {validation}"
            raise InputError(msg)
        return read_split(path, names)
    count = validation
    if count is None:
        count = max(round(HELD_OUT * len(names)), 1 if len(names) > 1 else 0)
    if not 0 <= count <= len(names):
        msg = f"validation must be 0 … {len(names)} of the walnuts, got {count}"
        raise InputError(msg)
    last = len(names) - count
    return {name: "train" if i < last else "validation" for i, name in enumerate(names)}
