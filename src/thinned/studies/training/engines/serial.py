"""Jobs one after the other, in the driver itself."""

from collections.abc import Iterator

from thinned.studies.training.engines.engine import Outcome, R, Task
from thinned.studies.training.engines.worker import attempt

__all__ = ["Serial"]


class Serial:
    """The engine of one worker: nothing is started and nothing copied."""

    workers = 1

    def run(self, task: Task[R], numbers: Iterator[int]) -> Iterator[Outcome[R]]:
        """Run the jobs in this process."""
        reported = [0] * task.jobs

        def report(number: int, value: int) -> None:
            reported[number] = value
            task.watch(reported)

        for number in numbers:
            yield attempt(task.work, number, lambda value, number=number: report(number, value))

    def close(self) -> None:
        """Nothing was started."""
