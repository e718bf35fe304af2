"""Threads of the driver, for jobs that compute outside the interpreter's lock."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

from thinned.studies.training.engines.engine import Outcome, R, Task
from thinned.studies.training.engines.worker import Stopped, attempt

__all__ = ["Threads"]

_POLL = 0.2  # seconds between two looks at the progress of jobs


class Threads:
    """The engine of one process: nothing is copied, and no interpreter starts.

    Args:
        jobs: how many at a time.
    """

    def __init__(self, jobs: int) -> None:
        self.workers = jobs

    def run(self, task: Task[R], numbers: Iterator[int]) -> Iterator[Outcome[R]]:
        """Run the jobs; this thread watches them and can be interrupted."""
        reported, stopped = [0] * task.jobs, False

        def report(number: int, value: int) -> None:
            if stopped:
                raise Stopped
            reported[number] = value

        in_flight: set[Future[Outcome[R]]] = set()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="thinned-job")
        try:
            while True:
                while len(in_flight) < self.workers and (number := next(numbers, None)) is not None:
                    in_flight.add(pool.submit(attempt, task.work, number, partial(report, number)))
                if not in_flight:
                    return
                done, in_flight = wait(in_flight, _POLL, FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                task.watch(list(reported))
        finally:
            stopped = True  # jobs that still run end at their next report
            pool.shutdown()

    def close(self) -> None:
        """Nothing was started."""
