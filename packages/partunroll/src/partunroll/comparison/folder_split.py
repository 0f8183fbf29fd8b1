"""split_folder: which volumes of a folder are trained on, validated on, and tested with."""

from __future__ import annotations

from pathlib import Path

from partunroll.errors import InputError
from partunroll.objects.object_sources import FILE_ENDINGS
from partunroll.store.split_file import read_split

_LEAST = 4  # two of a test have an interval, and one is needed for either other purpose


def split_folder(folder: Path, split: Path | None = None) -> dict[str, list[str]]:
    """Return the paths of volumes by purpose: train, validation and test.

    Parameters
    ----------
    folder
        It holds the volumes as files.
    split
        A YAML file of names without endings under train, validation and test. None: of the
        volumes in the order of their names every second is for the test, and the last of the
        others for validation.

    Raises
    ------
    InputError
        There is no folder, it has too few volumes or two of a name, or a purpose has none.
    """
    if not folder.is_dir():
        msg = f"data must be a folder of volumes or a data store, got {folder}"
        raise InputError(msg)
    files: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if not FILE_ENDINGS.search(path.name) or path.suffix in (".yaml", ".yml"):
            continue
        name = FILE_ENDINGS.sub("", path.name)
        if name in files:
            both = f"{Path(files[name]).name} and {path.name}"
            msg = f"volumes must have names that differ without endings, got {both} in {folder}"
            raise InputError(msg)
        files[name] = str(path.absolute())
    if split is not None:
        chosen = read_split(split, list(files))
        names = {
            purpose: [name for name, found in chosen.items() if found == purpose]
            for purpose in ("train", "validation", "test")
        }
    elif len(files) < _LEAST:
        msg = f"data must hold at least {_LEAST} volumes, got {len(files)} in {folder}"
        raise InputError(msg)
    else:
        every = list(files)
        *train, last = every[::2]
        names = {"train": train, "validation": [last], "test": every[1::2]}
    missing = [purpose for purpose, found in names.items() if not found]
    if missing:
        msg = f"split {split} must name volumes for every purpose, got none for {missing}"
        raise InputError(msg)
    return {purpose: [files[name] for name in found] for purpose, found in names.items()}
