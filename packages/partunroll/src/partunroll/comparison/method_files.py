"""method_digests: the files and the code that a method without training depends on, as hashes."""

from __future__ import annotations

import hashlib
from importlib.machinery import PathFinder
from pathlib import Path
from sys import path as python_path
from typing import TYPE_CHECKING, Any

from partunroll.baselines.method import parse_method
from partunroll.baselines.own_function import OwnFunction
from partunroll.comparison.content_key import file_digests
from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from partunroll.comparison.recipe_row import RowSection


def method_digests(row: RowSection) -> dict[str, str]:
    """Return hashes of what a method's options name: files, folders, modules of functions.

    Of a function's module it is the file, of a package all its Python files; what else these
    import is not looked at.
    """
    if row.method is None:
        return {}
    found = file_digests([row.document, row.candidates])
    for document in row.combinations:
        try:
            method = parse_method(document)
        except InputError:  # the row fails, and says why
            continue
        for folder in _folders(method.model_dump()):
            found[str(folder)] = _digest(folder, folder.rglob("*"))
        if isinstance(method, OwnFunction):
            found[f"module of {method.function}"] = _module_digest(method.function)
    return found


def _folders(document: Any) -> Iterator[Path]:  # noqa: ANN401 - any value of an option
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list | tuple):
        for value in document:
            yield from _folders(value)
    elif isinstance(document, Path) and document.is_dir():
        yield document


def _module_digest(function: str) -> str:
    """Return a hash of a module's code, which is not run; of none where it is not found."""
    top = function.partition(":")[0].partition(".")[0]
    found = PathFinder.find_spec(top, [*python_path, str(Path.cwd())])
    folders = [Path(place) for place in (found and found.submodule_search_locations) or ()]
    if folders:
        return _digest(folders[0], folders[0].rglob("*.py"))
    origin = None if found is None or found.origin is None else Path(found.origin)
    return _digest(Path(), [] if origin is None else [origin])


def _digest(folder: Path, files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for file in sorted(files):
        if file.is_file():
            name = file.relative_to(folder) if file.is_relative_to(folder) else file.name
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            total.update(f"{name} {digest}\n".encode())
    return total.hexdigest()
