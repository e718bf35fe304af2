"""The part of its mask that a tensor is, while a site of a sharded model runs."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from thinned.kernels.address import Region

__all__ = ["Placement", "placed", "placement"]

#: from the region that a function asks for and the shape of its tensor to the region of the larger mask
Placement = Callable[[Region, Sequence[int]], Region]


class _Thread(threading.local):
    """The state of this thread. torch.compile can't trace a context variable, and a forward never changes threads."""

    def __init__(self) -> None:  # in each thread; torch.compile guards on what the instance has
        self.placement: Placement | None = None


_thread = _Thread()


def placement() -> Placement | None:
    """The placement in force; None where tensors are whole."""
    return _thread.placement


def placed(value: Placement) -> AbstractContextManager[None]:
    """Within, :func:`thinned.ops.apply` places every region by ``value``."""
    return _Placed(value)


class _Placed:
    """See :func:`placed`. torch 2.6 can't trace a generator with ``contextmanager``."""

    def __init__(self, value: Placement) -> None:
        self._value = value
        self._before: Placement | None = None

    def __enter__(self) -> None:
        self._before, _thread.placement = _thread.placement, self._value

    def __exit__(self, *_: object) -> None:
        _thread.placement = self._before
