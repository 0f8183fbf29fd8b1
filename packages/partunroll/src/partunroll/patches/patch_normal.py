"""PatchNormalKind: what stands for ``A*A`` in the iterations on a patch."""

from __future__ import annotations

from typing import Literal, get_args

from partunroll.errors import InputError

# 'factors': B restricted to the patch (paper, eqs. 19-20). 'corrected': gradients are exact, by
# the rays that meet the patch, and proximal steps solve with B. The ablations: 'restricted' is
# the exact A*A of those rays; 'full' is A*A of the whole volume, zero outside the patch, which
# the paper replaced: the same numbers to rounding, at the cost of the volume.
PatchNormalKind = Literal["factors", "corrected", "restricted", "full"]
_OLD_NAMES = {"exact": "restricted"}  # until full came


def needs_factors(kind: PatchNormalKind) -> bool:
    """Return whether a kind takes factors."""
    return kind in ("factors", "corrected")


def patch_normal_kind(name: str) -> PatchNormalKind:
    """Return the kind of this name, or of the name that it had before.

    Raises
    ------
    InputError
        There is no such kind.
    """
    wanted = _OLD_NAMES.get(name, name)
    for kind in get_args(PatchNormalKind):
        if kind == wanted:
            return kind
    known = ", ".join(get_args(PatchNormalKind))
    msg = f"patch normal must be one of {known}, got {name!r}"
    raise InputError(msg)
