"""Workers of joblib: loky's processes on this machine, or the backend of ``joblib.parallel_config``."""

import contextlib
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import joblib

from thinned.errors import InputError, sentence
from thinned.studies.training.engines.engine import Lost, Outcome, R, Task
from thinned.studies.training.engines.worker import Run, module_path, run_files, run_job, visible_devices, warm_up

__all__ = ["Joblib"]

_POLL = 0.2  # seconds between two looks at the progress of jobs
_ABORT = 5.0  # seconds that an aborted run may take to end


class Joblib:
    """Jobs through ``joblib.Parallel``.

    joblib starts loky's processes afresh, without the caller's ``__main__``: a script needs no guard, a notebook works,
    and it makes no difference what threads or accelerators the caller uses.

    Args:
        jobs: how many at a time; None leaves it to ``joblib.parallel_config``.
        backend: joblib's name of it; None leaves it to ``joblib.parallel_config``, and else takes loky.
        main: see :class:`thinned.studies.training.engines.worker.Run`.
    """

    def __init__(
        self, jobs: int | None, backend: str | None, main: Mapping[str, Callable[..., object]] | None = None
    ) -> None:
        self._jobs, self._backend, self._main = jobs, backend, main or {}
        self.workers = joblib.effective_n_jobs(jobs) if backend is None else self._parallel()._effective_n_jobs()

    def _parallel(self) -> joblib.Parallel:
        # parallel_config belongs to the caller's thread: it is read here
        return joblib.Parallel(
            n_jobs=self._jobs,
            backend=self._backend,
            return_as="generator_unordered",
            pre_dispatch="n_jobs",
            batch_size=1,
        )

    def start(self) -> None:
        """Let workers import what they need, while the caller goes on."""
        parallel = self._parallel()
        calls = [joblib.delayed(warm_up)(os.getpid()) for _ in range(self.workers)]
        threading.Thread(target=_exhaust, args=(parallel, calls), daemon=True).start()

    def run(self, task: Task[R], numbers: Iterator[int]) -> Iterator[Outcome[R]]:
        """Run the jobs; joblib waits in a thread of its own, so that the caller's can watch and be interrupted."""
        in_flight: set[int] = set()
        with run_files(task) as files:
            run = Run(str(files.folder), os.getpid(), visible_devices(), module_path(), self._main)

            def calls() -> Iterator[Any]:
                for number in numbers:
                    in_flight.add(number)
                    yield joblib.delayed(run_job)(run, number)

            parallel, arrived = self._parallel(), queue.SimpleQueue[Any]()
            thread = threading.Thread(target=_consume, args=(parallel, calls(), arrived), daemon=True)
            thread.start()
            try:
                while True:
                    try:
                        item = arrived.get(timeout=_POLL)
                    except queue.Empty:
                        task.watch(files.progress())
                        continue
                    if item is None:
                        return
                    if isinstance(item, BaseException):
                        break
                    in_flight.discard(item.number)
                    yield item
                    task.watch(files.progress())
                yield from self._lost(in_flight, item)
            finally:
                if thread.is_alive():
                    _abort(parallel, thread)

    @staticmethod
    def _lost(in_flight: set[int], error: BaseException) -> Iterator[Lost]:
        if not in_flight:
            raise InputError(sentence("training needs joblib to start its workers", f"it says: {error}"))
        for number in sorted(in_flight):
            yield Lost(number, _reason(error))

    def close(self) -> None:
        """Leave idle processes to joblib, which ends them after a while."""


def _exhaust(parallel: joblib.Parallel, calls: list[Any]) -> None:
    with contextlib.suppress(Exception):  # workers that can't start are the run's to report
        for _ in parallel(calls):
            pass


def _consume(parallel: joblib.Parallel, calls: Iterator[Any], arrived: "queue.SimpleQueue[Any]") -> None:
    try:
        for outcome in parallel(calls):
            arrived.put(outcome)
    except BaseException as error:  # noqa: BLE001 (it is given to the thread that waits)
        arrived.put(error)
    else:
        arrived.put(None)


def _abort(parallel: joblib.Parallel, thread: threading.Thread) -> None:
    """End running jobs. Backends that can't kill them let them end at their next report."""
    with contextlib.suppress(Exception):
        parallel._backend.abort_everything(ensure_ready=False)
    thread.join(_ABORT)


def _reason(error: BaseException) -> str:
    """The end of a worker in a few words; loky tells the exit codes."""
    text = str(error)
    codes = re.search(r"exit codes of the workers are \{(.*?)\}", text)
    return f"a worker died (exit code {codes[1]})" if codes else f"{type(error).__name__}: {text.splitlines()[0]}"
