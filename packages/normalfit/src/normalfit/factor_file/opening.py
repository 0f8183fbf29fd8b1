"""open_factors, load_factors and save_factors: from paths to factor files and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from normalfit.factor_file.arrays import check_size, damage_reported
from normalfit.factor_file.header_0_1 import parse_header_0_1
from normalfit.factor_file.header_parsing import attributes_of, parse_header
from normalfit.factor_file.limits import DEFAULT_LIMITS, Limits
from normalfit.factor_file.manifest import HEADER, check_header, seal_of
from normalfit.factor_file.reader import FactorFile
from normalfit.factor_file.stored_files import stored_files
from normalfit.factor_file.writer import write_factor_file

if TYPE_CHECKING:
    import torch

    from normalfit.factor_file.header import CommonHeader
    from normalfit.factor_file.metadata import FactorMetadata
    from normalfit.factor_file.stored_files import StoredFiles
    from normalfit.factors import Factors


def save_factors(
    path: str | Path, factors: Factors, metadata: FactorMetadata, *, overwrite: bool = False
) -> FactorFile:
    """Write factors to a file and return it, opened.

    The file is written beside `path`, read back and compared bit for bit, and put in its place.
    When anything fails, or the process is killed, `path` is as it was.

    Parameters
    ----------
    path
        A folder to make; a name that ends in ``.zip`` makes one archive of it.
    factors, metadata
        What to write.
    overwrite
        Replace a factor file that is there.

    Raises
    ------
    InputError
        `path` exists and `overwrite` is not set, or is no factor file; the factors carry batch
        axes or are not finite; their dtype is not float32, float64, complex64 or complex128.
    MismatchError
        The metadata's fingerprint is not its spec's.
    """
    write_factor_file(path, factors, metadata, overwrite=overwrite)
    return open_factors(path)


def open_factors(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> FactorFile:
    """Open a factor file: read and check its header, no array.

    Parameters
    ----------
    path
        A folder or a ``.zip``, of version 0.1 or 1.x.
    limits
        What is refused before anything is allocated.

    Raises
    ------
    NotAFactorFileError
        There is nothing, or something else.
    UnsupportedVersionError
        It has a version that this normalfit does not read.
    CorruptFileError
        It is damaged.
    LimitError
        It holds more than the limits.
    """
    path = Path(path)
    with damage_reported(path):
        with stored_files(path) as files:
            seal = seal_of(files) if files.size(HEADER) is not None else b""
            header = _read_header(files, limits)
        for name, entry in header.arrays.items():
            check_size(name, entry, limits)
        file = FactorFile(path, header, seal, limits)
        file.check_unchanged()
    return file


def load_factors(
    path: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Factors:
    """Read all factors of a file; `open_factors` also gives what is known about them.

    Raises
    ------
    FactorFileError
        As `open_factors`.
    """
    return open_factors(path).load(device, dtype)


def _read_header(files: StoredFiles, limits: Limits) -> CommonHeader:
    data = files.read(HEADER, limits)
    attributes = attributes_of(data)
    if attributes.get("version") == "0.1":
        return parse_header_0_1(attributes)
    header = parse_header(attributes)
    check_header(files, data)
    return header
