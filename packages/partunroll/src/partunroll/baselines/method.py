"""parse_method: a baseline out of a YAML document; the table of the kinds there are."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from partunroll.baselines.filtered_backprojection import FilteredBackprojection
from partunroll.baselines.implicit_representation import ImplicitRepresentation
from partunroll.baselines.iterative_methods import (
    ConjugateGradients,
    TotalVariation,
    ZeroFilled,
)
from partunroll.baselines.method_section import MethodSection
from partunroll.baselines.own_function import OwnFunction
from partunroll.baselines.plug_and_play_methods import DPIR, PlugAndPlay
from partunroll.configuration.train_config import describe_problems
from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

Method = MethodSection

SECTIONS: tuple[type[MethodSection], ...] = (  # a new kind is added here
    ZeroFilled,
    ConjugateGradients,
    TotalVariation,
    ImplicitRepresentation,
    FilteredBackprojection,
    PlugAndPlay,
    DPIR,
    OwnFunction,
)
KINDS: Mapping[str, type[MethodSection]] = {
    section.model_fields["kind"].default: section for section in SECTIONS
}


def parse_method(document: Mapping[str, Any]) -> Method:
    """Return the method that a document describes.

    Parameters
    ----------
    document
        ``kind`` and the options of that kind; those that are left out have defaults.

    Raises
    ------
    InputError
        The kind is unknown, or options are; every problem is named.
    """
    kind = document.get("kind")
    section = KINDS.get(kind) if isinstance(kind, str) else None
    if section is None:
        similar = difflib.get_close_matches(str(kind), KINDS, n=1)
        hint = f"; perhaps {similar[0]}" if similar else ""
        msg = f"kind of a method must be one of {', '.join(KINDS)}, got {kind!r}{hint}"
        raise InputError(msg)
    try:
        return section.model_validate(dict(document))
    except ValidationError as error:
        msg = f"method {kind} must be valid, got {describe_problems(error)}"
        raise InputError(msg) from error
