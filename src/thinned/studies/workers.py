"""Threads that train cohorts, each on one core."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

__all__ = ["StoppedError", "workers"]


class StoppedError(Exception):
    """Ends a worker whose result nobody waits for any more."""


@contextmanager
def workers(count: int) -> Iterator[tuple[ThreadPoolExecutor, Callable[[], None]]]:
    """A pool of ``count`` threads, in each of which torch computes on one core, and a check for them to call.

    A cohort per core instead of all cores on one cohort: an operation takes tens of microseconds, so that bringing the
    cores together after each would cost more than the second core gives; and the numbers don't depend on how many
    cores there are. Where the caller fails or is interrupted, the check raises :class:`StoppedError` in the workers.
    """
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise StoppedError

    with ThreadPoolExecutor(count, "cohort", torch.set_num_threads, (1,)) as pool:
        try:
            yield pool, check
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
