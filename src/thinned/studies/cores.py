"""One core a job.

An operation of a study takes tens of microseconds. Bringing several cores together after each costs more than they
give, and the last bits of a matrix product depend on how many cores share it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

__all__ = ["one_core"]


class _Limit:
    """The limit of this process, which jobs in several threads share: the last one to end lifts it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs = 0
        self._threads = 1
        self._blas: threadpool_limits | None = None

    def set(self) -> None:
        with self._lock:
            if not self._jobs:
                self._threads = torch.get_num_threads()
                self._blas = threadpool_limits(1, user_api="blas")
            self._jobs += 1
        torch.set_num_threads(1)  # OpenMP keeps a number for each thread

    def lift(self) -> None:
        with self._lock:
            self._jobs -= 1
            if not self._jobs:
                torch.set_num_threads(self._threads)
                if self._blas is not None:
                    self._blas.restore_original_limits()


_LIMIT = _Limit()


@contextmanager
def one_core() -> Iterator[None]:
    """Let torch and BLAS compute on one core inside the block."""
    _LIMIT.set()
    try:
        yield
    finally:
        _LIMIT.lift()
