"""Array files that a spec names: .npy, or text with one row of numbers per line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

_TEXT_SUFFIXES = {".txt", ".csv", ".geom"}


def read_array_file(path: Path) -> np.ndarray:
    """Return the array in a file; text gives float64 of shape ``(rows, columns)``.

    Columns are separated by blanks, commas or semicolons; ``#`` starts a comment.

    Raises
    ------
    ValueError
        The file is missing, has another suffix, or is no array; says the requirement.
    """
    suffix = path.suffix.lower()
    if suffix != ".npy" and suffix not in _TEXT_SUFFIXES:
        msg = "must end in .npy, .txt, .csv or .geom"
        raise ValueError(msg)
    try:
        return _read_npy(path) if suffix == ".npy" else _read_rows(path)
    except FileNotFoundError:
        msg = f"must name a file that exists, {path} does not"
    except (OSError, UnicodeDecodeError) as error:
        msg = f"must name a file that can be read ({error})"
    except ValueError as error:
        msg = f"must name an array file without faults ({' '.join(str(error).split())})"
    raise ValueError(msg)


def finite_real(array: np.ndarray) -> np.ndarray:
    """Return a copy as float64.

    Raises
    ------
    ValueError
        The array does not hold real numbers, is empty, or has a value that is not finite.
    """
    if array.dtype.kind == "c":
        msg = f"must hold real numbers, not {array.dtype}"
        raise ValueError(msg)
    if array.dtype.kind not in "biuf" or array.size == 0:
        msg = f"must hold numbers, not {array.dtype} of shape {array.shape}"
        raise ValueError(msg)
    numbers = np.array(array, np.float64, order="C")
    bad = np.argwhere(~np.isfinite(numbers))
    if bad.size:
        place = tuple(int(i) for i in bad[0])
        msg = f"must hold finite numbers, has {numbers[place]} at index {place}"
        raise ValueError(msg)
    return numbers


def _read_npy(path: Path) -> np.ndarray:
    """Read one array; `np.load` would also take an .npz, which is none, for its magic number."""
    with path.open("rb") as file:
        try:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
        except (MemoryError, OSError):
            raise
        except Exception as error:  # a damaged header is parsed as Python: many kinds
            raise ValueError(str(error) or type(error).__name__) from error


def _read_rows(path: Path) -> np.ndarray:
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split("#")[0].replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        rows.append([_parsed(word, number) for word in words])
        if len(rows[-1]) != len(rows[0]):
            msg = f"line {number} has {len(rows[-1])} numbers, the first row has {len(rows[0])}"
            raise ValueError(msg)
    return np.array(rows, dtype=np.float64)


def _parsed(word: str, line_number: int) -> float:
    try:
        return float(word)
    except ValueError:
        msg = f"line {line_number} has {word!r} where a number is expected"
        raise ValueError(msg) from None
