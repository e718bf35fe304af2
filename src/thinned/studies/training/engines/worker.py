"""What happens in a worker: a job is loaded, computed on one core, and its outcome sent back."""

import contextlib
import functools
import io
import os
import shutil
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch

from thinned.errors import InputError
from thinned.studies.cores import one_core
from thinned.studies.training.engines.engine import Done, Failed, Outcome, R, Task
from thinned.studies.training.engines.environment import environment
from thinned.studies.training.store import writing
from thinned.studies.user_code import UserCodeError, is_out_of_memory

__all__ = ["Run", "RunFiles", "attempt", "module_path", "run_files", "run_job", "visible_devices", "warm_up"]

_WORK, _PROGRESS = "work", "progress"
_SLOT = 8  # bytes of a job in the progress file, an int64


class Run(NamedTuple):
    """Where the files of a run are, which process drives it, and what a worker lacks.

    Attributes:
        folder: of the files.
        driver: process number of the driver, by which its children notice that it was killed.
        devices: accelerators, one of which each worker sees; empty if there is none, or the cluster deals them.
        path: where the driver looks for modules, such as that of a user's network.
        main: objects by name that the driver's ``__main__`` holds and jobs look for, as a notebook's network.
    """

    folder: str
    driver: int
    devices: tuple[str, ...]
    path: tuple[str, ...]
    main: Mapping[str, Callable[..., object]]


class Stopped(BaseException):
    """The driver has given the run up."""


class RunFiles:
    """The files of a run, seen from the driver."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self.folder = folder
        self._jobs = jobs

    def progress(self) -> list[int]:
        """What each job reported last."""
        values = np.fromfile(self.folder / _PROGRESS, dtype=np.int64)
        return [int(value) for value in values[: self._jobs]]

    def content(self) -> bytes:
        """The work, for machines that don't see the folder."""
        return (self.folder / _WORK).read_bytes()


@contextlib.contextmanager
def run_files(task: Task[R]) -> Iterator[RunFiles]:
    """Write the work where workers can map it into memory: large arrays are on the machine once.

    Jobs that still run when the files are removed end at their next report.

    Raises:
        InputError: the folder can't be written to, or the disk is full.
    """
    shutil.rmtree(task.folder, ignore_errors=True)  # of a driver that was killed
    folder = task.folder / uuid.uuid4().hex
    try:
        with writing():
            folder.mkdir(mode=0o700, parents=True)
            np.zeros(task.jobs, dtype=np.int64).tofile(folder / _PROGRESS)
            joblib.dump(task.work, folder / _WORK)
        yield RunFiles(folder, task.jobs)
    finally:
        shutil.rmtree(task.folder, ignore_errors=True)


def run_job(run: Run, number: int, content: bytes | None = None) -> Outcome[Any]:
    """Do a job in a worker.

    Args:
        run: the run's files.
        number: of the job.
        content: the work's file, for a machine that doesn't see the driver's.
    """
    folder = Path(run.folder)
    visible = folder.is_dir()
    _prepare_process(run)
    sys.path += [entry for entry in run.path if entry not in sys.path and Path(entry).is_dir()]
    for name, value in run.main.items():
        setattr(sys.modules["__main__"], name, value)

    def report(value: int) -> None:
        if visible:
            _write_progress(folder / _PROGRESS, number, value)

    def work(number: int, report: Callable[[int], None]) -> Any:
        # mapped copy-on-write, and let go with the job: a page that nobody changes is in memory once
        source = folder / _WORK if visible or content is None else io.BytesIO(content)
        return joblib.load(source, mmap_mode="c" if visible else None)(number, report)

    return attempt(work, number, report)


def attempt(work: Callable[[int, Callable[[int], None]], R], number: int, report: Callable[[int], None]) -> Outcome[R]:
    """Do a job on one core; an error is an outcome, too."""
    try:
        with one_core():
            return Done(number, work(number, report), environment())
    except Stopped:
        return Failed(number, "Stopped", "the run was given up", "", final=True)
    except Exception as error:  # noqa: BLE001 (the driver decides)
        name = "MemoryError" if is_out_of_memory(error) else type(error).__name__
        final = isinstance(error, InputError) and not (isinstance(error, UserCodeError) and error.may_pass)
        return Failed(number, name, str(error), "".join(traceback.format_exception(error)), final)


def warm_up(driver: int) -> None:
    """Import what jobs need, while the driver reads the table."""
    if driver == os.getppid():
        _follow(driver)
    import thinned.studies.training.jobs  # noqa: F401, PLC0415 - the point of it


def _prepare_process(run: Run) -> None:
    if run.driver == os.getppid():
        _follow(run.driver)
    if run.driver == os.getpid():
        return  # a thread of the driver, whose surroundings are the caller's
    if len(run.devices) > 1 and os.environ.get("CUDA_VISIBLE_DEVICES") not in run.devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = run.devices[_place(Path(run.folder)) % len(run.devices)]


@functools.cache
def _follow(driver: int) -> None:
    """Leave Ctrl-C to the driver, and end with it: an idle child would outlive a killed driver and hold its pipes."""

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)

    _ignore_interruption()
    threading.Thread(target=watch, name="thinned-driver", daemon=True).start()


def _ignore_interruption() -> None:
    """Leave Ctrl-C, which a terminal sends to all its processes, to the driver."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _place(folder: Path) -> int:
    """A number that no other worker of the run has, from 0."""
    number = 0
    while True:
        try:
            (folder / f"worker-{number}").touch(exist_ok=False)
        except FileExistsError:
            number += 1
        except OSError:  # the machine doesn't see the folder
            return os.getpid()
        else:
            return number


def module_path() -> tuple[str, ...]:
    """Where this process looks for modules; the working directory comes last."""
    return (*filter(None, sys.path), str(Path.cwd()))


def visible_devices() -> tuple[str, ...]:
    """Accelerators that ``CUDA_VISIBLE_DEVICES`` names, or all there are."""
    if not torch.cuda.is_available():
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(named.split(",")) if named else tuple(map(str, range(torch.cuda.device_count())))


def _write_progress(path: Path, number: int, value: int) -> None:
    """Write a job's own bytes alone: several machines may share the file.

    Raises:
        Stopped: the file is gone.
    """
    try:
        with path.open("r+b", buffering=0) as file:
            file.seek(_SLOT * number)
            file.write(value.to_bytes(_SLOT, sys.byteorder, signed=True))
    except FileNotFoundError:
        raise Stopped from None
    except OSError:  # nothing is lost but the display
        return
