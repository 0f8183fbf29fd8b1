"""The manifest: a SHA-256 of every file, as `sha256sum` writes and checks it."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from normalfit.errors import CorruptFileError
from normalfit.factor_file.stored_files import FolderFiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from normalfit.factor_file.stored_files import StoredFiles

MANIFEST = "manifest.sha256"
HEADER = "zarr.json"
_LAST = "# sha256 of the lines above: "
_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)\n")
_BLOCK = 1 << 20
_SEAL_BYTES = 64
_FIRST_LINE_BYTES = 64 + 2 + len(HEADER) + 1


def write_manifest(folder: Path) -> None:
    """Write the manifest of a folder, which has none yet or another one."""
    with FolderFiles(folder) as files:
        digests = {name: digest_of(files, name) for name in files.names() if name != MANIFEST}
    (folder / MANIFEST).write_bytes(rendered(digests))


def rendered(digests: Mapping[str, str]) -> bytes:
    """Return the manifest of these digests: the header's first, the others by name."""
    names = sorted(digests, key=lambda name: (name != HEADER, name))
    lines = "".join(f"{digests[name]}  {name}\n" for name in names).encode()
    return lines + f"{_LAST}{hashlib.sha256(lines).hexdigest()}\n".encode()


def parse_manifest(data: bytes) -> dict[str, str]:
    """Return the digests that a manifest holds.

    Raises
    ------
    CorruptFileError
        It does not hold its own digest, or is not written as `rendered` writes it.
    """
    digests = {name: digest for digest, name in _LINE.findall(data.decode(errors="replace"))}
    if rendered(digests) != data:
        msg = f"{MANIFEST} must end in the SHA-256 of its lines, in their order, got other bytes"
        raise CorruptFileError(msg, [(MANIFEST, "must end in the SHA-256 of its sorted lines")])
    return digests


def check_header(files: StoredFiles, header: bytes) -> None:
    """Refuse a header that is not the one of the manifest, whose first line alone is read.

    Raises
    ------
    CorruptFileError
        It is another one, or there is no manifest.
    """
    if files.size(MANIFEST) is None:
        msg = f"{MANIFEST} must exist, got none"
        raise CorruptFileError(msg, [(MANIFEST, "must exist, got none")])
    first = files.head(MANIFEST, _FIRST_LINE_BYTES)
    digest = hashlib.sha256(header).hexdigest()
    if first != f"{digest}  {HEADER}\n".encode():
        msg = f"{HEADER} must have the SHA-256 that {MANIFEST} starts with, got {digest}"
        raise CorruptFileError(msg, [(HEADER, msg)])


def seal_of(files: StoredFiles) -> bytes:
    """Return what tells a file from any other at its path: the manifest's digest of itself.

    Files of version 0.1 have no manifest; there it is the digest of the header.
    """
    size = files.size(MANIFEST)
    if size is None:
        return digest_of(files, HEADER).encode()
    with files.open(MANIFEST) as file:
        file.seek(max(0, size - _SEAL_BYTES))
        return file.read()


def digest_of(files: StoredFiles, name: str) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with files.open(name) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
