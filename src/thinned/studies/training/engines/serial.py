"""Jobs one after the other, in the driver itself."""

from collections.abc import Iterator
from functools import partial

from thinned.studies.training.engines.engine import Outcome, R, Task
from thinned.studies.training.engines.worker import attempt

__all__ = ["Serial"]


class _WatcherError(BaseException):
    """An error of the caller's own function, which is no failure of the job."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Serial:
    """The engine of one worker: nothing is started and nothing copied."""

    workers = 1

    def run(self, task: Task[R], numbers: Iterator[int]) -> Iterator[Outcome[R]]:
        """Run the jobs in this process."""
        reported = [0] * task.jobs

        def report(number: int, value: int) -> None:
            reported[number] = value
            try:
                task.watch(reported)
            except Exception as error:
                raise _WatcherError(error) from error

        for number in numbers:
            try:
                outcome = attempt(task.work, number, partial(report, number))
            except _WatcherError as raised:
                raise raised.error from None
            yield outcome

    def close(self) -> None:
        """Nothing was started."""
