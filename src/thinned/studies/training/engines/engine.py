"""The protocol of engines, and what passes between the driver, an engine and its workers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

__all__ = ["Done", "Engine", "Failed", "Lost", "Outcome", "Report", "Task", "Work"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

#: called by a job with a whole number that says how far it is
Report = Callable[[int], None]


class Work(Protocol[R_co]):
    """Does jobs by number. Engines copy it to their workers, so it can be pickled."""

    def __call__(self, number: int, report: Report) -> R_co:
        """Do a job, and call ``report`` now and then."""
        ...


class Task(NamedTuple, Generic[R]):
    """The jobs of a run.

    Attributes:
        work: does a job.
        jobs: how many jobs there are.
        folder: for temporary files, which is made and removed; workers on other machines need not see it.
        watch: called in the driver a few times a second with what each job reported last.
    """

    work: Work[R]
    jobs: int
    folder: Path
    watch: Callable[[list[int]], None]


class Done(NamedTuple, Generic[R]):
    """A finished job: its number, its result, and where it was computed (:func:`environment`)."""

    number: int
    result: R
    environment: dict[str, str]


class Failed(NamedTuple):
    """A job that raised: the type of the error, its message and traceback; ``final`` if another try is useless."""

    number: int
    error: str
    message: str
    traceback: str
    final: bool


class Lost(NamedTuple):
    """A job that was in flight when its worker or the engine died."""

    number: int
    reason: str


Outcome = Done[R] | Failed | Lost


class Engine(Protocol):
    """Runs jobs on workers, each of which computes on one core.

    Attributes:
        workers: how many jobs run at a time.
    """

    @property
    def workers(self) -> int:
        """How many jobs run at a time."""
        ...

    def run(self, task: Task[R], numbers: Iterator[int]) -> Iterator[Outcome[R]]:
        """Run jobs and yield their outcomes as they come.

        A number is taken from ``numbers`` when a worker is free, not before. Closing the iterator ends what is running.

        Raises:
            InputError: the engine went away; jobs in flight are lost.
        """
        ...

    def close(self) -> None:
        """Give back what the engine has started itself."""
        ...
