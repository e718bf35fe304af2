"""The clock of an addressed model: the buffer that counts its training forward passes."""

import threading

import torch

__all__ = ["CLOCK", "tick"]

CLOCK = "thinned_clock"
_lock = threading.Lock()  # two threads that train one model never get the same number


def tick(clock: torch.Tensor) -> torch.Tensor:
    """Advance the clock; return the number before."""
    with _lock:
        forward_index = clock.clone()
        clock.add_(1)
    return forward_index


# An operator, since the partitioner of a compiled graph may otherwise save the clock in place of its copy, and find it
# advanced in the backward pass: gradients of another mask.
torch.library.define("thinned::tick", "(Tensor(a!) clock) -> Tensor")
torch.library.impl("thinned::tick", "CompositeExplicitAutograd", tick)


@torch.library.register_fake("thinned::tick")  # type: ignore[untyped-decorator]
def _fake_tick(clock: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(clock)
