"""compile_prior: the prior by torch.compile, and what it means when that fails."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from partunroll.network.networks import Network

_COMPILERS = ("torch._dynamo.", "torch._inductor.")  # whose errors torch keeps under no public name


def compile_prior(network: Network) -> None:
    """Let torch compile the DRUNet at its first call; names and values of weights stay."""
    network.prior.drunet.compile()


@contextmanager
def uncompiled_prior(network: Network) -> Iterator[None]:
    """Run the prior as it is written inside the block, whether or not it is compiled."""
    drunet = network.prior.drunet
    compiled, drunet._compiled_call_impl = drunet._compiled_call_impl, None  # no public name
    try:
        yield
    finally:
        drunet._compiled_call_impl = compiled


@contextmanager
def compilation_failures_named() -> Iterator[None]:
    """Raise InputError where torch.compile fails, as it does without a C++ compiler."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(_COMPILERS):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        msg = f"compile must be possible on this machine, got {reason}; set compile: false"
        raise InputError(msg) from error
