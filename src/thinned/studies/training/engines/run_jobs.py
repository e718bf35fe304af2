"""Runs all jobs on an engine: what is lost or fails is tried again, up to a number of times."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Generic

from thinned.errors import InputError, sentence
from thinned.studies.training.engines.engine import Done, Engine, Failed, Lost, R, Task
from thinned.studies.training.engines.environment import environment
from thinned.studies.user_code import UserCodeError

__all__ = ["RESUME", "TRIES", "run_jobs"]

TRIES = 3  # of a job, before the run is given up
RESUME = "the same command goes on from the finished networks"


def run_jobs(
    engine: Engine,
    task: Task[R],
    *,
    enough: Callable[[], bool] = lambda: False,
    describe: Callable[[int], str] = lambda number: f"job {number + 1}",
) -> Iterator[tuple[int, R]]:
    """Do all jobs, and yield (number, result) as each is finished.

    A job that failed, or was in flight when a worker died, goes to the end of the line: others are finished before it
    is given up.

    Args:
        engine: where they run.
        task: the jobs.
        enough: asked before a job is begun; once it is true, what is running is finished and the rest left.
        describe: names a job in messages.

    Raises:
        UserCodeError: the code of a user's own raised in a job, which the sentence names.
        InputError: the engine went away; a job lost its worker or ran out of memory three times; a worker has other
            versions or instructions than the driver; or a job raised one.
        RuntimeError: a job raised another error three times, or the first three jobs did.
    """
    line: _Line[R] = _Line(task, describe)
    while line.waiting:
        outcomes = engine.run(task, line.take(enough))
        try:
            for outcome in outcomes:
                if isinstance(outcome, Done):
                    _check_environment(outcome)
                    line.finished += 1
                    yield outcome.number, outcome.result
                else:
                    line.try_again(outcome)
        finally:
            close = getattr(outcomes, "close", None)  # what is running ends before the caller goes on
            if close is not None:
                close()


class _Line(Generic[R]):
    """The jobs that wait, and how often each was tried."""

    def __init__(self, task: Task[R], describe: Callable[[int], str]) -> None:
        self.waiting = deque(range(task.jobs))
        self.finished = 0
        self._describe = describe
        self._failures: Counter[int] = Counter()

    def take(self, enough: Callable[[], bool]) -> Iterator[int]:
        while self.waiting:
            if enough():
                self.waiting.clear()
                return
            yield self.waiting.popleft()

    def try_again(self, outcome: Failed | Lost) -> None:
        number = outcome.number
        self._failures[number] += 1
        if isinstance(outcome, Failed) and outcome.final:
            raise self._error(outcome) if _is_user_code(outcome) else InputError(outcome.message)
        hopeless = isinstance(outcome, Failed) and not self.finished and self._failures.total() >= TRIES
        if self._failures[number] < TRIES and not hopeless:
            self.waiting.append(number)
            return
        raise self._error(outcome)

    def _error(self, outcome: Failed | Lost) -> Exception:
        name, tries = self._describe(outcome.number), self._failures[outcome.number]
        times = "once" if tries == 1 else f"{tries} times"
        if isinstance(outcome, Lost):
            remedy = f"if memory ran out, take fewer jobs or narrower layers; {RESUME}"
            return InputError(
                sentence("training needs its workers to live", f"{name} lost its own {times}: {outcome.reason}", remedy)
            )
        if _is_user_code(outcome):
            return UserCodeError(sentence(outcome.message, f"this was {name}"), outcome.traceback)
        found = f"{name} failed {times}: {outcome.error}: {outcome.message}"
        if outcome.error == "MemoryError":
            remedy = f"take fewer jobs, fewer rows, smaller batches or narrower layers; {RESUME}"
            return InputError(sentence("training needs memory", found, remedy))
        error = RuntimeError(sentence("training needs every job to finish", found, RESUME))
        error.add_note(outcome.traceback)
        return error


def _is_user_code(outcome: Failed) -> bool:
    return outcome.error == UserCodeError.__name__


def _check_environment(outcome: Done[R]) -> None:
    own, theirs = environment(), outcome.environment
    for name in own:
        if own[name] != theirs.get(name):
            requirement = "workers must have the driver's versions and instruction set, from which the numbers follow"
            found = f"{name.replace('_', ' ')} is {theirs.get(name)!r} on a worker and {own[name]!r} here"
            raise InputError(sentence(requirement, found, "choose workers of one kind"))
