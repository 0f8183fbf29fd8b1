"""A factor file as one zip archive, to be mailed: uncompressed, and sealed with its own hash."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING

from normalfit.errors import CorruptFileError
from normalfit.factor_file.stored_files import FolderFiles

if TYPE_CHECKING:
    from pathlib import Path

_SEAL = b"sha256 of the bytes before: "
_HEX = 64
_BLOCK = 1 << 20
_DATE = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive


def is_archive_name(path: Path) -> bool:
    """Whether a factor file of this name is an archive."""
    return path.suffix.lower() == ".zip"


def pack(folder: Path, target: Path) -> None:
    """Write the files of a folder to a new archive that ends in the SHA-256 of all before."""
    with FolderFiles(folder) as files, zipfile.ZipFile(target, "x") as archive:
        archive.comment = _SEAL + b"0" * _HEX
        for name in files.names():
            member = zipfile.ZipInfo(name, _DATE)
            member.file_size = files.size(name) or 0  # tells zipfile which need 64 bits
            with files.open(name) as source, archive.open(member, "w") as copy:
                while block := source.read(_BLOCK):
                    copy.write(block)
    seal = _digest(target).encode()
    with target.open("r+b") as file:
        file.seek(-_HEX, 2)
        file.write(seal)


def check_seal(path: Path) -> None:
    """Refuse an archive that does not end in the SHA-256 of all that comes before.

    Raises
    ------
    CorruptFileError
        Any byte has changed, or another program made the archive.
    """
    ending = _SEAL + _digest(path).encode()
    with path.open("rb") as file:
        file.seek(-min(len(ending), path.stat().st_size), 2)
        found = file.read()
    if found != ending:
        msg = "archive must end in the SHA-256 of the bytes before, got another ending"
        raise CorruptFileError(msg, [("archive", msg.removeprefix("archive "))])


def _digest(path: Path) -> str:
    left = path.stat().st_size - _HEX
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()
