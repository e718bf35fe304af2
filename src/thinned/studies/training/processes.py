"""Processes that train cohorts, each on one core.

A cohort per core, instead of all cores on one cohort: an operation takes tens of microseconds, so that bringing the
cores together after each costs more than the second one gives, and the numbers don't depend on how many cores there
are. Processes, since threads of one interpreter wait for each other between operations.
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
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from thinned.errors import InputError

__all__ = ["one_core", "run_jobs"]

_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)

#: what does one job: its number, and a function by which it tells how far it is
Work = Callable[[int, Callable[[int], None]], Any]


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Let torch compute on one core; afterwards as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_jobs(
    work: Work, jobs: int, watch: Callable[[list[int]], None], enough: Callable[[], bool] = lambda: False
) -> Iterator[tuple[int, Any]]:
    """Do all jobs, as many at a time as torch has threads, and give (number, result) as each is finished.

    Processes are forked: they see the caller's data without a copy, and the caller's script needs no guard. Where that
    is not safe (off Linux, or where autograd may have threads for an accelerator), jobs are done one after the other in
    this process.

    Args:
        work: does a job; its result must be of plain types.
        jobs: how many there are.
        watch: called a few times a second with what each job has told last.
        enough: asked before a job is begun; once it is true, what is running is finished and the rest left.

    Raises:
        RuntimeError: a process died, for example for want of memory.
        Exception: what a job raised.
    """
    if sys.platform == "linux" and not torch.accelerator.is_available():
        yield from _forked(work, jobs, watch, enough)
        return
    told = [0] * jobs
    for number in range(jobs):
        if enough():
            return

        def tell(value: int, number: int = number) -> None:
            told[number] = value
            watch(told)

        with one_core():
            result = work(number, tell)
        yield number, result


def _forked(
    work: Work, jobs: int, watch: Callable[[list[int]], None], enough: Callable[[], bool]
) -> Iterator[tuple[int, Any]]:
    # a process's first optimizer step would import it, which takes a second; inherited, it takes none
    importlib.import_module("torch._dynamo")
    context = multiprocessing.get_context("fork")
    told = context.RawArray("l", jobs)
    waiting = deque(range(jobs))
    running: dict[Connection, tuple[int, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < torch.get_num_threads():
                if enough():
                    waiting.clear()
                    break
                number = waiting.popleft()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(work, number, told, sender), daemon=True)
                with _interruption_held():
                    process.start()
                sender.close()
                running[receiver] = number, process
            ready = set(wait(running, timeout=0.2))
            for receiver in [one for one in running if one in ready]:
                number, process = running.pop(receiver)
                yield number, _result(receiver, process)
            watch(list(told))
    finally:  # an interruption too
        for _, process in running.values():
            process.kill()
            process.join()


@contextlib.contextmanager
def _interruption_held() -> Iterator[None]:
    """Put Ctrl-C off: Python drops an exception that is raised in the midst of a fork, in the callbacks around it."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        handler(*came[0])


def _child(work: Work, number: int, told: Any, sender: Connection) -> None:
    # the parent decides about an interruption, and a process whose parent is gone must not hold the folder's lock
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    torch.set_num_threads(1)
    try:
        result = work(number, lambda value: told.__setitem__(number, value))
    except Exception as error:  # noqa: BLE001 (raised again by the parent)
        sender.send(_sendable(error))
    else:
        sender.send([result])


def _sendable(error: Exception) -> Exception:
    """The error with where it was raised, which is lost on the way; one of a foreign class may not arrive at all."""
    if isinstance(error, InputError):
        return error
    sent = error if type(error).__module__ == "builtins" else RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note("".join(traceback.format_tb(error.__traceback__)))
    return sent


def _result(receiver: Connection, process: Any) -> Any:
    try:
        received = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(
            f"training needs its processes to finish, one ended with exit code {process.exitcode}; "
            "if memory ran out, use fewer rows or narrower layers"
        ) from None
    process.join()
    receiver.close()
    if isinstance(received, Exception):
        raise received
    return received[0]
