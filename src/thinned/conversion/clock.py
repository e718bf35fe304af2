"""The clock of an addressed model: the buffer that counts its training forward passes."""

import threading

import torch

from thinned.conversion import torch_private
from thinned.errors import sentence

__all__ = ["CLOCK", "tick"]

CLOCK = "thinned_clock"
_lock = threading.Lock()  # two threads that train one model never get the same number


def tick(clock: torch.Tensor, least: torch.Tensor | None = None) -> torch.Tensor:
    """Advance the clock.

    Args:
        clock: 0-dim int64, advanced in place.
        least: 0-dim int64, a number that the clock never falls behind, advanced in place with it; None for none.

    Returns:
        The number before, 0-dim int64.
    """
    with _lock:
        if least is not None:
            clock.copy_(torch.maximum(clock, least.to(clock.device)))
        forward_index = clock.clone()
        clock.add_(1)
        if least is not None:
            least.copy_(clock)
    return forward_index


# An operator, since the partitioner of a compiled graph may otherwise save the clock in place of its copy, and find it
# advanced in the backward pass: gradients of another mask.
torch.library.define("thinned::tick", "(Tensor(a!) clock, Tensor(b!)? least=None) -> Tensor")


@torch.library.impl("thinned::tick", "CompositeExplicitAutograd")
def _tick(clock: torch.Tensor, least: torch.Tensor | None = None) -> torch.Tensor:
    if torch_private.in_backward():  # nothing of ours that runs eagerly has seen the checkpointed region
        raise RuntimeError(
            sentence(
                "a compiled module of an addressed model must not run again in a backward pass",
                "activation checkpointing around it runs it again, which would advance the clock",
                "compile the whole model with checkpointing inside, or do not compile what is checkpointed",
            )
        )
    return tick(clock, least)


@torch.library.register_fake("thinned::tick")  # type: ignore[untyped-decorator]
def _fake_tick(clock: torch.Tensor, least: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ARG001
    return torch.empty_like(clock)
