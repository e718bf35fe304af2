"""Processes that train cohorts, each on one core.

One cohort a core is faster than all cores on one cohort: an operation takes tens of microseconds, so that bringing the
cores together after each costs more than the second one gives. The numbers do not depend on the number of cores.
Processes, because threads of one interpreter wait for each other between operations.
"""

import contextlib
import ctypes
import importlib
import multiprocessing
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, MutableSequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import NamedTuple, TypeVar, cast

import torch

from thinned.errors import InputError, sentence

__all__ = ["one_core", "run_jobs"]

_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)

Result = TypeVar("Result")
#: does the job of this number, and reports its state to the function that it is given
Work = Callable[[int, Callable[[int], None]], Result]


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Let torch compute on one core, and restore the number of threads afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_jobs(
    work: Work[Result],
    jobs: int,
    watch: Callable[[list[int]], None],
    is_time_up: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Result]]:
    """Run all jobs, as many at a time as torch has threads, and yield (number, result) of each when it is finished.

    Processes are forked: they see the caller's data without a copy, and the caller's script needs no guard. Where
    forking is unsafe (off Linux, or where autograd may have threads for an accelerator), this process runs one job
    after the other, on one core.

    Args:
        work: runs one job; its result must consist of plain types.
        jobs: number of jobs.
        watch: called a few times a second with the last reported state of each job.
        is_time_up: asked before each start of a job; once it is true, running jobs finish and no other starts.

    Raises:
        RuntimeError: a worker process died, for example because memory ran out.
        Exception: an exception of a job.
    """
    if sys.platform == "linux" and not torch.accelerator.is_available():
        yield from _forked(work, jobs, watch, is_time_up)
        return
    states = [0] * jobs
    for number in range(jobs):
        if is_time_up():
            return

        def report(state: int, number: int = number) -> None:
            states[number] = state
            watch(states)

        with one_core():
            result = work(number, report)
        yield number, result


class _RunningJob(NamedTuple):
    number: int
    process: BaseProcess


def _forked(
    work: Work[Result], jobs: int, watch: Callable[[list[int]], None], is_time_up: Callable[[], bool]
) -> Iterator[tuple[int, Result]]:
    # a process's first optimizer step would import it, which takes a second; inherited, it takes none
    importlib.import_module("torch._dynamo")
    context = multiprocessing.get_context("fork")
    states: MutableSequence[int] = context.RawArray("l", jobs)
    waiting = deque(range(jobs))
    running: dict[Connection, _RunningJob] = {}
    try:
        while waiting or running:
            while waiting and len(running) < torch.get_num_threads():
                if is_time_up():
                    waiting.clear()
                    break
                number = waiting.popleft()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(work, number, states, sender), daemon=True)
                with _interruption_delayed():
                    process.start()
                sender.close()
                running[receiver] = _RunningJob(number, process)
            ready = set(wait(running, timeout=0.2))
            for receiver in [one for one in running if one in ready]:
                job = running.pop(receiver)
                yield job.number, cast("Result", _receive(receiver, job.process))
            watch(list(states))
    finally:  # an interruption too
        for job in running.values():
            job.process.kill()
            job.process.join()


@contextlib.contextmanager
def _interruption_delayed() -> Iterator[None]:
    """Delay Ctrl-C: Python drops an exception that is raised in the callbacks around a fork."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    interruptions: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: interruptions.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if interruptions:
        handler(*interruptions[0])


def _child(work: Work[object], number: int, states: MutableSequence[int], sender: Connection) -> None:
    # the parent decides about an interruption, and a process whose parent is gone must not hold the folder's lock
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    torch.set_num_threads(1)
    try:
        result = work(number, lambda state: states.__setitem__(number, state))
    except Exception as error:  # noqa: BLE001 (raised again by the parent)
        sender.send(_sendable(error))
    else:
        sender.send([result])


def _sendable(error: Exception) -> Exception:
    """The error with a note of where it was raised, which pickling loses; a foreign class may not arrive at all."""
    if isinstance(error, InputError):
        return error
    sent = error if type(error).__module__ == "builtins" else RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note("".join(traceback.format_tb(error.__traceback__)))
    return sent


def _receive(receiver: Connection, process: BaseProcess) -> object:
    try:
        received = receiver.recv()
    except EOFError:
        process.join()
        requirement, value = "a worker process must finish its job", f"one died with exit code {process.exitcode}"
        remedy = "if memory ran out, use fewer rows or narrower layers"
        raise RuntimeError(sentence(requirement, value, remedy)) from None
    process.join()
    receiver.close()
    if isinstance(received, Exception):
        raise received
    return received[0]
