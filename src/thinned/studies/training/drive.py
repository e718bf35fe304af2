"""Drives the jobs of a study on an engine; each finished job is stored at once."""

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from thinned.errors import sentence
from thinned.studies.training.engines.engine import Engine, Task, Work
from thinned.studies.training.engines.run_jobs import RESUME, run_jobs
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.store import ERRORS, Store, finished_networks, write_text, writing
from thinned.studies.user_code import UserCodeError

__all__ = ["Progress", "StudyJobs", "drive", "logged"]


class Progress(NamedTuple):
    """The state of a study: its present task in words, and the number of trained networks (with fractions)."""

    doing: str
    networks: float


class StudyJobs(NamedTuple):
    """The jobs that a study has still to do.

    Attributes:
        work: trains the networks of a job.
        number: how many jobs there are.
        watch: called a few times a second with what each job reported last.
        describe: names a job in messages.
    """

    work: Work[list[TrainedNetwork]]
    number: int
    watch: Callable[[list[int]], None]
    describe: Callable[[int], str]


def drive(
    jobs: StudyJobs,
    store: Store,
    minutes: float | None,
    engine: Engine | None,
    start_engine: Callable[[], Engine],
    folder: Path | None,
) -> None:
    """Do all jobs, and store the networks of each.

    Args:
        jobs: the jobs.
        store: takes the records of the networks.
        minutes: no job starts after this time; None sets no limit.
        engine: does the jobs; None takes the one that ``start_engine`` gives, and closes it afterwards.
        start_engine: see ``engine``.
        folder: for temporary files, best on a file system that all workers see; None makes one.

    Raises:
        InputError: workers failed, or the user's code did.
    """
    start = time.perf_counter()
    deadline = math.inf if minutes is None else start + 60 * minutes
    with contextlib.ExitStack() as stack:
        if engine is None:
            engine = start_engine()
            stack.callback(engine.close)
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thinned-"))) / "run"
        task = Task(jobs.work, jobs.number, folder, jobs.watch)
        enough = lambda: time.perf_counter() > deadline  # noqa: E731
        stack.enter_context(logged(store.folder))
        for _, networks in run_jobs(engine, task, enough=enough, describe=jobs.describe):
            store.add(networks, time.perf_counter() - start)
            start = time.perf_counter()


@contextlib.contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Keep the traceback of what the user's code raised in the folder of the run, and say so.

    Raises:
        UserCodeError: it raised.
    """
    log = folder / ERRORS
    log.unlink(missing_ok=True)  # of an earlier try
    try:
        yield
    except UserCodeError as error:
        with writing():
            write_text(log, f"{error}\n\n{error.trace}")
        trained = finished_networks(folder)
        resume = "mend it, and the same command begins anew"
        if trained:  # networks of two sources are never compared
            resume = (
                f"{RESUME}, {trained} of them; they were trained with this source, and a mended one needs a new folder"
            )
        message = sentence(str(error), f"the traceback is in {log}", resume)
        raise UserCodeError(message, error.trace) from None
