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


class _Thread(threading.local):
    """Whether this thread was left at one core, since other threads still ran jobs when its own ended."""

    left = False


class _Limit:
    """The limit of this process, which jobs in several threads share: the last one to end lifts it.

    torch has a number of threads for each thread that computes, and one for threads to come; its matrix products have
    one for all. A job that ends while others run therefore leaves all of them as they are.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs = 0
        self._threads = 1
        self._thread = _Thread()
        self._blas: threadpool_limits | None = None

    def set(self) -> None:
        with self._lock:
            if not self._jobs:
                own = torch.get_num_threads()
                if own > 1 or not self._thread.left:  # a thread that was left at one core knows no number
                    self._threads = own
                self._blas = threadpool_limits(1, user_api="blas")
            self._jobs += 1
        torch.set_num_threads(1)  # OpenMP keeps a number for each thread

    def lift(self) -> None:
        with self._lock:
            self._jobs -= 1
            self._thread.left = self._jobs > 0
            if not self._jobs:
                if self._blas is not None:  # sets OpenMP's number, too: to that of the thread that began
                    self._blas.restore_original_limits()
                torch.set_num_threads(self._threads)


_LIMIT = _Limit()


@contextmanager
def one_core() -> Iterator[None]:
    """Let torch and BLAS compute on one core inside the block."""
    _LIMIT.set()
    try:
        yield
    finally:
        _LIMIT.lift()
