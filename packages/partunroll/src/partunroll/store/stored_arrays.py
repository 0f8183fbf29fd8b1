"""StoredArrays: the arrays of a stored operator, read where they are asked for, and not kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from partunroll.store.data_store_arrays import CheckedArray, damage_reported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from partunroll.store.data_store_header import ArrayEntry


@dataclass(frozen=True)
class StoredArrays(Mapping[str, "np.ndarray"]):
    """Arrays by their keys, as `OperatorSpec` has them; it pickles as paths.

    A store of many scans has as many coil maps: together they are larger than memory.

    Parameters
    ----------
    folder
        Of the operator.
    entries
        What the store's header says about its arrays.
    """

    folder: Path
    entries: Mapping[str, ArrayEntry]

    def __getitem__(self, key: str) -> np.ndarray:
        """Read an array; it is read-only.

        Raises
        ------
        DataStoreError
            It is missing or damaged.
        """
        entry = self.entries[key]
        with damage_reported(self.folder / key):
            values = CheckedArray(self.folder / key, entry).read()
        values.setflags(write=False)
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)
