"""What the engines of clusters share: futures that are submitted, polled and asked for their outcome."""

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from thinned.errors import sentence
from thinned.studies.training.engines.engine import Failed, Lost, Outcome, R, Task
from thinned.studies.training.engines.worker import Run, RunFiles, module_path, run_files

__all__ = ["FutureEngine", "without_outcome"]

F = TypeVar("F")
_POLL = 0.2  # seconds between two looks at the progress of jobs


class FutureEngine(ABC, Generic[F]):
    """Keeps as many futures in flight as there are workers.

    Args:
        main: see :class:`thinned.studies.training.engines.worker.Run`.
    """

    def __init__(self, main: Mapping[str, Callable[..., object]] | None = None) -> None:
        self._main = main or {}
        self._devices: tuple[str, ...] = ()

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many jobs run at a time."""

    @abstractmethod
    def _share(self, files: RunFiles) -> Any:
        """Hand the work to machines that don't see its file; what comes back is given to :meth:`_submit`."""

    @abstractmethod
    def _submit(self, run: Run, number: int, shared: Any) -> F:
        """Begin a job."""

    @abstractmethod
    def _wait(self, futures: list[F], seconds: float) -> list[F]:
        """Wait until a future is done, but no longer; those that are done."""

    @abstractmethod
    def _outcome(self, future: F, number: int) -> Outcome[Any]:
        """The outcome of a future that is done."""

    @abstractmethod
    def _cancel(self, futures: list[F]) -> None:
        """End jobs that run."""

    def run(self, task: Task[R], numbers: Iterator[int]) -> Iterator[Outcome[R]]:
        """Run the jobs."""
        in_flight: dict[F, int] = {}
        with run_files(task) as files:
            run = Run(str(files.folder), os.getpid(), self._devices, module_path(), self._main)
            shared = self._share(files)
            try:
                while True:
                    while len(in_flight) < self.workers and (number := next(numbers, None)) is not None:
                        in_flight[self._submit(run, number, shared)] = number
                    if not in_flight:
                        return
                    for future in self._wait(list(in_flight), _POLL):
                        yield self._outcome(future, in_flight.pop(future))
                    task.watch(files.progress())
            finally:
                if in_flight:
                    with contextlib.suppress(Exception):  # the cluster may be gone
                        self._cancel(list(in_flight))


def without_outcome(number: int, error: Exception) -> Failed | Lost:
    """What became of a job whose worker sent no outcome back, from the error of the cluster."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    missing = next((line for line in reversed(lines) if "No module named" in line), None)
    if missing is None:
        return Lost(number, ": ".join((type(error).__name__, *lines[:1])))
    requirement = "each machine of a cluster needs the packages of the driver, in equal versions"
    found = f"a worker says {missing[missing.index('No module named') :]}"
    message = sentence(requirement, found, "install them where the cluster's workers start; the same command goes on")
    return Failed(number, type(error).__name__, message, "", final=True)
