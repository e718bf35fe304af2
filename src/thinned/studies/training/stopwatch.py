"""Measures how long a computation takes on a machine that others use at the same time."""

import time
from pathlib import Path

__all__ = ["Stopwatch"]

#: Linux: nanoseconds that the calling thread ran, nanoseconds that it waited for a core, and how often it ran
_SCHEDULE = Path("/proc/thread-self/schedstat")


class Stopwatch:
    """Seconds since it was made, without those in which its thread waited for a core that other programs had.

    A cost that is measured in a second must not depend on what else runs in that second. Waiting for a disk, a device
    or a worker process counts. Where the system does not count the waiting for cores, all seconds do.
    """

    def __init__(self) -> None:
        self._begin = time.perf_counter() - _seconds_without_core()

    def seconds(self) -> float:
        """Seconds until now; call it in the thread that made the stopwatch."""
        return max(time.perf_counter() - _seconds_without_core() - self._begin, 0.0)


def _seconds_without_core() -> float:
    try:
        return int(_SCHEDULE.read_text("ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
