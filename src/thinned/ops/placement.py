"""The part of its mask that a tensor is, while a site of a sharded model runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from thinned.kernels.address import Region

__all__ = ["Placement", "placed", "placement"]

#: from the region that a function asks for and the shape of its tensor to the region of the larger mask
Placement = Callable[[Region, Sequence[int]], Region]

_running: ContextVar[Placement | None] = ContextVar("placement", default=None)
# torch.compile can't trace a context variable. It traces in one thread at a time, and keeps what it assigns to itself.
_traced: Placement | None = None


def placement() -> Placement | None:
    """The placement in force; None where tensors are whole."""
    return _traced if torch.compiler.is_compiling() else _running.get()


@contextmanager
def placed(value: Placement) -> Iterator[None]:
    """Within, :func:`thinned.ops.apply` places every region by ``value``."""
    global _traced  # noqa: PLW0603 - see above
    if torch.compiler.is_compiling():
        _traced = value
        try:
            yield
        finally:
            _traced = None
        return
    token = _running.set(value)
    try:
        yield
    finally:
        _running.reset(token)
