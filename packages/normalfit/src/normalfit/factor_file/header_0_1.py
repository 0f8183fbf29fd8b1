"""Headers of version 0.1, which had no manifest and no check, but a checksum of their own."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from normalfit.errors import CorruptFileError
from normalfit.factor_file.header import CommonHeader
from normalfit.factor_file.header_parsing import checked

if TYPE_CHECKING:
    from collections.abc import Mapping


class Header01(CommonHeader):
    """The attributes of a factor file, version 0.1."""

    version: Literal["0.1"]
    hermitian: None = None
    check: None = None


def parse_header_0_1(attributes: Mapping[str, Any]) -> Header01:
    """Return the header of version 0.1 that the attributes of a root group hold.

    Raises
    ------
    CorruptFileError
        They are damaged or contradict each other; every problem is listed with its place.
    """
    document = {key: value for key, value in attributes.items() if key != "checksum"}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    if attributes.get("checksum") != hashlib.sha256(text.encode()).hexdigest():
        msg = f"checksum of the attributes must match, got {attributes.get('checksum')!r}"
        raise CorruptFileError(msg, [("checksum", "must match the attributes, got another")])
    return checked(Header01, text)
